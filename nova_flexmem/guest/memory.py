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

Source of addresses: hw/i386/pc.c, pc_piix.c and pc_q35.c of QEMU (there
pc_max_used_gpa() and what it calls).
"""

import re

from lxml import etree
from oslo_utils import units

from nova_flexmem.guest import fitness
from nova_flexmem.guest import xmledit

#: What libvirt lets QEMU lock for VFIO, beside the RAM.
_LOCKABLE_BYTES = units.Gi

_MIB_KIB = 1 << 10
_GIB_KIB = 1 << 20

#: From this size on, a part of a guest's RAM lies above 4 GiB: below, QEMU
#: leaves room for devices. (It then moves more than it must: of 4 GiB of RAM
#: 1 GiB with pc, 2 GiB with q35.)
_SPLIT_KIB = {'pc': 3584 * _MIB_KIB, 'q35': 2816 * _MIB_KIB}

#: What of the RAM of such a guest stays below.
_LOW_KIB = {'pc': 3 * _GIB_KIB, 'q35': 2 * _GIB_KIB}

#: Addresses for PCI devices behind all memory (pci-hole64-size).
_PCI_KIB = {'pc': 2 * _GIB_KIB, 'q35': 32 * _GIB_KIB}

#: Of QEMU's processors, unless they take the host's (TCG_PHYS_ADDR_BITS).
ADDRESS_BITS = 40


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


def check_addresses(root, size_bytes):
    """Check that a stock domain has addresses left for the FlexMem device.

    :param root: its XML, an element
    :param size_bytes: of root.pmem
    :raises: ValueError if it has not
    """
    ram_kib = xmledit.size_kib(root.find('memory'))
    room_kib, slots = size_bytes // 1024, 1
    maximum = root.find('maxMemory')
    if maximum is not None:
        room_kib += xmledit.size_kib(maximum) - ram_kib
        slots += int(maximum.get('slots', '0'))
    check_end(fitness.chipset(root), ram_kib, room_kib, slots,
              _address_bits(root))


def check_end(chipset, ram_kib, room_kib, slots, address_bits):
    """Check that the memory of a guest ends where its processor sees it.

    QEMU 7.2 and later do not start a guest whose memory ends behind that; with
    earlier ones the guest does not see the FlexMem device.

    :param room_kib: behind its RAM, root.pmem included
    :param slots: memory slots of that room
    :param address_bits: of the processor
    :raises: ValueError
    """
    above_kib = (ram_kib - _LOW_KIB[chipset]
                 if ram_kib >= _SPLIT_KIB[chipset] else 0)
    # each slot may begin at the next GiB
    end_kib = (_whole_gib(4 * _GIB_KIB + above_kib) + room_kib
               + slots * _GIB_KIB)
    end_kib = _whole_gib(end_kib) + _PCI_KIB[chipset]
    if end_kib > 1 << (address_bits - 10):
        raise ValueError(
            f'its memory and root.pmem end at address'
            f' {end_kib // _GIB_KIB} GiB, but its processor has {address_bits}'
            f' bits, for {1 << (address_bits - 30)} GiB; use a smaller flavor,'
            ' or more bits (hw:maxphysaddr_bits)')


def host_address_bits():
    """Return how many bits a guest's addresses can have on this host."""
    with open('/proc/cpuinfo', encoding='utf-8') as f:
        found = re.search(r'^address sizes\s*: (\d+) bits physical', f.read(),
                          re.MULTILINE)
    return max(int(found[1]) if found else 0, ADDRESS_BITS)


def _whole_gib(size_kib):
    return -(-size_kib // _GIB_KIB) * _GIB_KIB


def _address_bits(root):
    """Return how many bits a guest's physical addresses have, at most."""
    element = root.find('cpu/maxphysaddr')
    if element is not None and element.get('bits'):
        return int(element.get('bits'))
    cpu = root.find('cpu')
    mode = None if cpu is None else cpu.get('mode')
    if element is not None or (root.get('type') == 'kvm' and mode in (
            'host-passthrough', 'host-model', 'maximum')):
        return host_address_bits()
    return ADDRESS_BITS


def is_returnable(root):
    """Return whether the host can take back RAM that the guest does not use.

    Huge pages are reserved for as long as the guest runs, madvise(2) refuses
    to drop locked pages, and QEMU to drop what VFIO has pinned.

    :param root: the domain's XML, an element
    """
    return not (root.xpath('memoryBacking/hugepages | memoryBacking/locked')
                or fitness.has_host_device(root))


def check_lockable(root, size_bytes):
    """Check that VFIO may pin the FlexMem device for the domain's devices.

    libvirt lets QEMU lock the guest's RAM and 1 GiB, or what <hard_limit>
    says (qemuDomainGetMemLockLimitBytes() in src/qemu/qemu_domain.c). It does
    not know of root.pmem.

    :param root: its XML, an element
    :param size_bytes: of root.pmem
    :raises: ValueError
    """
    if size_bytes > _LOCKABLE_BYTES and fitness.has_host_device(
            root) and not root.xpath(
                'memoryBacking/locked | memtune/hard_limit'):
        raise ValueError(
            f'its host device needs all of root.pmem'
            f' ({size_bytes // units.Mi} MiB) locked, and libvirt lets QEMU'
            f' lock {_LOCKABLE_BYTES // units.Mi} MiB beside the RAM; use'
            ' hw:locked_memory, or a smaller image')


def make_room(root, size_bytes):
    """Make room for the FlexMem device in a domain.

    Room beyond RAM needs a NUMA cell in the guest, or libvirt refuses it. If
    the domain's memory is locked, QEMU locks root.pmem as well, and VFIO pins
    it for devices of the host: it then counts against the domain's hard limit.

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
    limit = root.find('memtune/hard_limit')
    if limit is not None and (
            root.find('memoryBacking/locked') is not None
            or fitness.has_host_device(root)):
        limit.text = str(xmledit.size_kib(limit) + size_bytes // 1024)
        limit.set('unit', 'KiB')
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
