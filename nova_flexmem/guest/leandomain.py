# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""The domain of a guest that does without something."""

from lxml import etree

from nova_flexmem.guest import lean
from nova_flexmem.guest import xmledit

#: Processors' features for nested guests: Intel's and AMD's. Without them
#: Linux does not load the modules of KVM.
_NESTING_FEATURES = ('vmx', 'svm')


def apply(root, without):
    """Take out of a domain what its guest does without.

    :param root: the domain's XML, an element
    :param without: parts of lean.PARTS that the guest does without
    """
    if lean.VIDEO in without:
        _remove_video(root)
    if lean.NESTING in without:
        _disable_nesting(root)


def _remove_video(root):
    """As Nova does for hw_video_model=none.

    The graphics stay: a channel of SPICE needs them.
    """
    for video in root.findall('devices/video'):
        xmledit.remove(video)
    devices = root.find('devices')
    if devices.find('graphics') is not None:
        # libvirt would add one by itself
        video = etree.Element('video')
        etree.SubElement(video, 'model', type='none')
        xmledit.append(devices, video)


def _disable_nesting(root):
    cpu = root.find('cpu')
    if cpu is None or (cpu.get('mode', 'custom') == 'custom'
                       and cpu.find('model') is None):
        return  # libvirt refuses features without a model
    for name in _NESTING_FEATURES:
        feature = cpu.find(f"feature[@name='{name}']")
        if feature is None:
            feature = etree.Element('feature', name=name)
            xmledit.insert(cpu, _before_numa(cpu), feature)
        feature.set('policy', 'disable')


def _before_numa(cpu):
    numa = cpu.find('numa')
    return len(cpu) if numa is None else cpu.index(numa)
