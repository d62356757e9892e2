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

"""The libvirt domain that rescues a FlexMem guest.

It boots the rescue image in the stock way. Nova attaches the delta, if there
is one. The base is attached as a read-only disk, so that both layers of the
broken guest's root can be mounted.
"""

import string

from lxml import etree

from nova_flexmem import exception
from nova_flexmem.guest import xmledit

#: The serial by which the base's disk is found in the rescue guest.
BASE_SERIAL = 'flexmem-base'


def attach_base(xml, root_pmem, offset_bytes, size_bytes, missing_disk=None):
    """Return domain XML with a base's root filesystem as one more disk.

    :param xml: libvirt domain XML of the rescue guest, text
    :param root_pmem: path of the base's root.pmem
    :param offset_bytes: where the root filesystem begins in root.pmem
    :param size_bytes: size of the root filesystem
    :param missing_disk: path of the root disk, or pool and name of its image,
        if that does not exist, as with writes='memory'; its disk is removed
        from the XML
    :returns: libvirt domain XML, text
    :raises: DomainRefused if the guest has no room for another disk
    """
    root = xmledit.parse(xml)
    if missing_disk:
        for absent in root.xpath(
                'devices/disk[source[@file=$name or @name=$name]]',
                name=missing_disk):
            xmledit.remove(absent)
    taken = set(root.xpath('devices/disk/target/@dev'))
    name = next((f'vd{letter}' for letter in string.ascii_lowercase
                 if f'vd{letter}' not in taken), None)
    if name is None:
        raise exception.DomainRefused(
            domain=root.findtext('name') or '(unnamed)',
            reason='all its virtio disks are taken; detach a volume')
    disk = etree.Element('disk', type='file', device='disk')
    etree.SubElement(disk, 'driver', name='qemu', type='raw')
    source = etree.SubElement(disk, 'source', file=root_pmem)
    # without it libvirt gives the file to QEMU's user, who could then write
    # to it
    etree.SubElement(source, 'seclabel', model='dac', relabel='no')
    slices = etree.SubElement(source, 'slices')
    etree.SubElement(slices, 'slice', type='storage', offset=str(offset_bytes),
                     size=str(size_bytes))
    etree.SubElement(disk, 'target', dev=name, bus='virtio')
    etree.SubElement(disk, 'readonly')
    etree.SubElement(disk, 'serial').text = BASE_SERIAL
    last = root.findall('devices/disk')[-1]
    xmledit.insert(last.getparent(), last.getparent().index(last) + 1, disk)
    return xmledit.serialize(root)
