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

"""The names by which an image can call its own devices.

libguestfs's list-filesystems knows filesystems too, but looks at each device
with ten programs, which takes a tenth of a build without KVM.
"""

import re
import shlex

#: What blkid calls an identifier, and what fstab does (see fstab(5)).
_TAGS = {'UUID': 'UUID', 'LABEL': 'LABEL', 'PART_ENTRY_UUID': 'PARTUUID',
         'PART_ENTRY_NAME': 'PARTLABEL'}

_DISK = '/dev/sda'
#: Of the appliance: what is built, or merged, is there.
_OTHER_DISK = re.compile(r'/dev/sd(?!a\d*$)')
_FIRST_DISK = re.compile(r'^/dev/(?:sd|vd|hd|xvd)a(?=\d*$)')

#: Names by udev that follow from what is on a disk, not from where it is.
_LINK = re.compile(r'disk/by-(?:uuid|label|partuuid|partlabel)/'
                   r'|disk/by-id/(?:dm|md|lvm)-|mapper/|md/')

#: Prints what is known of devices. blkid fails where that is nothing.
LOOK_AT = """
    for device in {devices}; do
        echo "device $device"
        {{ blkid --cache-file /dev/null --probe --info --output export \\
            "$device" || true; }} | sed 's/^/fact /'
        udevadm info --query=symlink --name="$device" | sed 's/^/links /'
    done"""

#: What blkid puts in front of some characters of a value.
_QUOTED = re.compile(r'\\(.)')


def find(appliance):
    """Return what an image's devices can be called.

    :returns: {identifier: device} of its filesystems, for example
        {'PARTUUID=0b9c56c1-...': '/dev/sda3'}, and the same of what is none:
        swap space, encrypted devices, and what cannot be told
    """
    partitions = [name for name in appliance.command('list-partitions')
                  if not _OTHER_DISK.match(name)]
    devices = [*(partitions or [_DISK]), *appliance.command('list-md-devices'),
               *appliance.command('lvs')]
    found: dict[str, tuple[dict[str, str], list[str]]] = {}
    facts: dict[str, str] = {}
    links: list[str] = []
    for line in appliance.shell(LOOK_AT.format(
            devices=' '.join(map(shlex.quote, devices)))):
        kind, _space, text = line.partition(' ')
        if kind == 'device':
            facts, links = found[text] = {}, []
        elif kind == 'links':
            links += [f'/dev/{link}' for link in text.split()
                      if _LINK.match(link)]
        elif '=' in text:
            name, value = text.split('=', 1)
            facts[name] = _QUOTED.sub(r'\1', value)
    filesystems: dict[str, str] = {}
    others: dict[str, str] = {}
    for device, (facts, links) in found.items():
        names = [device, *links, *(normal(f'{tag}={facts[name]}')
                                   for name, tag in _TAGS.items()
                                   if facts.get(name))]
        (filesystems if facts.get('USAGE') == 'filesystem'
         else others).update(dict.fromkeys(names, device))
    return filesystems, others


def normal(spec):
    """Return an identifier as find() has it.

    The guest's first disk, however its kernel calls it, is the image, which
    is the appliance's first disk.
    """
    name, equals, value = spec.replace('"', '').partition('=')
    if not equals:
        return _FIRST_DISK.sub(_DISK, name)
    return name + equals + (value.lower() if name.endswith('UUID') else value)
