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

"""Stock guests whose kernel QEMU starts, instead of firmware and GRUB.

FlexMem guests start in this way too, so these tell which part of a faster boot
comes from that alone. All else is as in stock guests: the overlay, and the
image's own initramfs.
"""

import dataclasses
import os
import re

from lxml import etree
from oslo_utils import units

from nova_flexmem import exception
from nova_flexmem.guest import xmledit
from nova_flexmem.image import appliance as appliance_module
from nova_flexmem.image import grub
from nova_flexmem.image import operating_system

_TIMEOUT_S = 900
_MAX_KERNEL_BYTES = 64 * units.Mi
_MAX_INITRD_BYTES = 512 * units.Mi

#: What the first entry of GRUB's menu boots.
_ENTRY = re.compile(r'^[ \t]*linux(?:16|efi)?[ \t]+(?P<kernel>\S+)'
                    r'[ \t]*(?P<args>.*)$'
                    r'(?:\n.*)*?\n[ \t]*initrd(?:16|efi)?[ \t]+'
                    r'(?P<initrd>\S+)[ \t]*$', re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Direct:
    """What such guests start from.

    :ivar kernel: path of the image's kernel, taken out of it
    :ivar initrd: path of its initramfs
    :ivar args: its kernel command line
    """

    kernel: str
    initrd: str
    args: str

    def transform(self, xml):
        """Return the domain XML for that of a stock guest."""
        root = xmledit.parse(xml)
        system = root.find('os')
        for tag, text in (('kernel', self.kernel), ('initrd', self.initrd),
                          ('cmdline', self.args)):
            child = etree.Element(tag)
            child.text = text
            xmledit.append(system, child)
        return xmledit.serialize(root)


def take(store, raw, image, folder):
    """Take an image's kernel and initramfs out of it.

    :param store: the store.Store whose appliance reads it
    :param raw: path of the image, raw
    :param image: the image's path, for messages
    :param folder: where to have the files; QEMU's user can enter it
    :returns: a Direct
    :raises: BenchFailed if GRUB's menu does not say which
    """
    drives = [appliance_module.Drive(raw, 'raw', True, 'image')]
    with appliance_module.Appliance(
            store.folder('appliance'), drives, timeout_s=_TIMEOUT_S,
            file_size_bytes=_MAX_INITRD_BYTES) as a:
        tree = operating_system.mount(
            a, operating_system.find(a, image), os.path.dirname(raw))
        kernel, args, initrd = first_entry(
            '\n'.join(map(tree.read_text, grub.MENUS)), image)
        return Direct(
            _copy(tree, kernel, _MAX_KERNEL_BYTES,
                  os.path.join(folder, 'direct.kernel')),
            _copy(tree, initrd, _MAX_INITRD_BYTES,
                  os.path.join(folder, 'direct.initrd')), args)


def first_entry(menu, image):
    """Return what GRUB's first entry boots: kernel, arguments, initramfs.

    :param menu: the text of grub.cfg
    :param image: the image's path, for messages
    :raises: BenchFailed if there is no such entry, or it has variables
    """
    entry = _ENTRY.search(menu)
    if not entry or '$' in entry[0]:
        raise exception.BenchFailed(
            reason=f"{image}: GRUB's menu in it does not name a kernel, its"
            ' arguments and an initramfs')
    return entry['kernel'], entry['args'].strip(), entry['initrd']


def _copy(tree, path, max_bytes, to):
    """Copy a file out of an image; /boot may have been GRUB's root."""
    content = tree.read(path, max_bytes)
    if content is None:
        content = tree.read(f'/boot{path}', max_bytes)
    if content is None:
        raise exception.BenchFailed(
            reason=f"{path}: GRUB's menu names it, and it is not in the image")
    with open(to, 'xb') as f:
        f.write(content)
    return to
