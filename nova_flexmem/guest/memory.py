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

"""The memory of a guest: where its RAM lies, and room for the FlexMem device.

Source of addresses: hw/i386/pc.c, pc_piix.c and pc_q35.c of QEMU.
"""

from lxml import etree

from nova_flexmem.guest import fitness
from nova_flexmem.guest import xmledit

_MIB_KIB = 1 << 10

#: From this size on, a part of a guest's RAM lies above 4 GiB: below, QEMU
#: leaves room for devices. (It then moves more than it must: of 4 GiB of RAM
#: 1 GiB with pc, 2 GiB with q35.)
_SPLIT_KIB = {'pc': 3584 * _MIB_KIB, 'q35': 2816 * _MIB_KIB}


def ram_is_below_4_gib(root):
    """Return whether a stock domain can never have RAM above 4 GiB.

    Memory that is plugged in lies above 4 GiB, so a domain with room for it
    cannot be sure.

    :param root: its XML, an element
    :raises: ValueError for an unsupported machine type or unit of memory
    """
    return (root.find('maxMemory') is None
            and xmledit.size_kib(root.find('memory'))
            < _SPLIT_KIB[fitness.chipset(root)])


def make_room(root, size_bytes):
    """Make room for the FlexMem device in a domain.

    Room beyond RAM needs a NUMA cell in the guest, or libvirt refuses it.

    :param root: the domain's XML, an element
    :param size_bytes: of root.pmem
    :returns: the number of the device's memory slot
    """
    memory = root.find('memory')
    maximum = root.find('maxMemory')
    if maximum is None:
        maximum = etree.Element('maxMemory')
        room_kib = xmledit.size_kib(memory)
        xmledit.insert(root, root.index(memory), maximum)
    else:
        room_kib = xmledit.size_kib(maximum)
    dimm_slot = int(maximum.get('slots', '0'))
    maximum.set('slots', str(dimm_slot + 1))
    maximum.set('unit', 'KiB')
    maximum.text = str(room_kib + size_bytes // 1024)
    if root.find('cpu/numa/cell') is None:
        _add_numa_cell(root, xmledit.size_kib(memory))
    return dimm_slot


def _add_numa_cell(root, memory_kib):
    cpu = root.find('cpu')
    if cpu is None:
        cpu = etree.Element('cpu')
        xmledit.insert_after(root, ['features'], cpu)
    numa = cpu.find('numa')
    if numa is None:
        numa = etree.Element('numa')
        xmledit.append(cpu, numa)
    vcpus = int(root.findtext('vcpu', '1'))
    xmledit.append(numa, etree.Element(
        'cell', id='0', cpus=f'0-{vcpus - 1}' if vcpus > 1 else '0',
        memory=str(memory_kib), unit='KiB'))
