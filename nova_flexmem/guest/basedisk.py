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

"""Disks of a domain that are a part of a base's root.pmem, read-only.

A guest's kernel gives its disks letters in their order. With none in the place
of the root disk, the others would not have the letters that Nova tells users.
So a guest that writes to memory alone has a small disk of zeros there, the
beginning of root.pmem.
"""

from lxml import etree

from nova_flexmem.guest import xmledit

#: The serial of the disk of zeros.
ZEROS_SERIAL = 'flexmem-no-disk'

#: Before the pfn superblock, see store.superblock.
_ZEROS_BYTES = 4096

#: On others QEMU has no disks that are read-only.
_BUSES = ('virtio', 'scsi')


def part(root_pmem, offset_bytes, size_bytes, target, serial):
    """Return a <disk>.

    :param root_pmem: path of the base's root.pmem
    :param target: the disk's <target>
    """
    disk = etree.Element('disk', type='file', device='disk')
    etree.SubElement(disk, 'driver', name='qemu', type='raw')
    source = etree.SubElement(disk, 'source', file=root_pmem)
    # without it libvirt gives the file to QEMU's user, who could then write
    # to it
    etree.SubElement(source, 'seclabel', model='dac', relabel='no')
    slices = etree.SubElement(source, 'slices')
    etree.SubElement(slices, 'slice', type='storage', offset=str(offset_bytes),
                     size=str(size_bytes))
    disk.append(target)
    etree.SubElement(disk, 'readonly')
    etree.SubElement(disk, 'serial').text = serial
    return disk


def put_zeros(disk, root_pmem):
    """Have zeros in the place of a domain's root disk.

    :param disk: the <disk>; of another bus than virtio or SCSI it is removed
    :param root_pmem: path of the base's root.pmem
    """
    target, address = disk.find('target'), disk.find('address')
    if target is not None and target.get('bus') in _BUSES:
        zeros = part(root_pmem, 0, _ZEROS_BYTES, target, ZEROS_SERIAL)
        if address is not None:
            zeros.append(address)
        xmledit.insert(disk.getparent(), disk.getparent().index(disk), zeros)
    xmledit.remove(disk)


def move_zeros(root, root_pmem):
    """Have zeros of a base at another path, in a domain that has them."""
    for source in root.xpath('devices/disk[serial=$serial]/source',
                             serial=ZEROS_SERIAL):
        source.set('file', root_pmem)


def without_zeros(devices):
    """Return devices less the disk of zeros.

    :param devices: LibvirtConfigGuestDevice objects of Nova's, a list
    """
    return [device for device in devices
            if getattr(device, 'serial', None) != ZEROS_SERIAL]
