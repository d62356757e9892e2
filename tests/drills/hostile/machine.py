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

"""Writes past the guest's kernel: physical memory, and devices that do DMA."""

import contextlib
import ctypes
import errno
import glob
import mmap
import os
import struct
import time

from tests.drills.hostile import device

_IOPL = 3
#: mov edx, edi; mov eax, esi; out dx, eax; ret
_OUT = b'\x89\xfa\x89\xf0\xef\xc3'

_MAP_HUGETLB = 0x40000

#: QEMU's docs/specs/fw_cfg.rst
_FW_CFG_DMA = 0x514
_FW_CFG_SKIPPED_ITEM, _FW_CFG_SELECT, _FW_CFG_READ = 0xffff << 16, 8, 2
_FW_CFG_ERROR = 1

_PCI = '/sys/bus/pci'
_VIRTIO = 0x1af4
#: PCI devices, the first two of which have the legacy registers of virtio 1.2,
#: 4.1.4.10.
_BALLOON, _RNG, _PMEM = 0x1002, 0x1005, 0x105b
_FEATURES, _GUEST_FEATURES, _QUEUE, _SIZE, _SELECT, _NOTIFY, _STATUS = (
    0, 4, 8, 12, 14, 16, 18)
_DRIVER_OK = 7  # and that there is a driver
_WRITABLE = 2
_USED_S = 10
_REPORTING = 1 << 5
_INFLATE_QUEUE, _REPORTING_QUEUE = 0, 3


def physical_write():
    with device.opened('/dev/mem', os.O_RDWR) as fd:
        os.pwrite(fd, b'written by guest', device.address())


def physical_map():
    with device.opened('/dev/mem', os.O_RDWR) as fd, mmap.mmap(
            fd, int(device.read(f'{device.REGION}/size')),
            offset=device.address()) as view:
        device.fill(view)


def _out(port, value):
    """Write 32 bits to a port of the machine."""
    device.call(device.LIBC.iopl, _IOPL)
    code = mmap.mmap(-1, device.PAGE_BYTES, prot=mmap.PROT_READ
                     | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(_OUT)
    ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32)(
        ctypes.addressof(ctypes.c_char.from_buffer(code)))(port, value)


class _Memory:
    """Memory whose physical address is known: a huge page."""

    def __init__(self):
        device.write('/proc/sys/vm/nr_hugepages', '1')
        self.view = mmap.mmap(-1, 2 << 20, mmap.MAP_SHARED
                              | mmap.MAP_ANONYMOUS | _MAP_HUGETLB)
        self.view[0] = 0
        page = ctypes.addressof(ctypes.c_char.from_buffer(
            self.view)) // device.PAGE_BYTES
        with device.opened('/proc/self/pagemap', os.O_RDONLY) as fd:
            entry, = struct.unpack('Q', os.pread(fd, 8, page * 8))
        self.address = (entry & (1 << 55) - 1) * device.PAGE_BYTES


def firmware():
    """Have fw_cfg write zeroes over the base, which any absent item is."""
    memory = _Memory()
    memory.view[:16] = struct.pack(
        '>IIQ', _FW_CFG_SKIPPED_ITEM | _FW_CFG_SELECT | _FW_CFG_READ,
        int(device.read(f'{device.REGION}/size')), device.address())
    for port, half in ((_FW_CFG_DMA, memory.address >> 32),
                       (_FW_CFG_DMA + 4, memory.address & 0xffffffff)):
        _out(port, int.from_bytes(half.to_bytes(4, 'big'), 'little'))
    control, = struct.unpack_from('>I', memory.view)
    if control & _FW_CFG_ERROR:
        raise OSError(errno.EIO, 'fw_cfg')


def _pci(number):
    """Return the folder of the first PCI device of a kind of virtio."""
    for path in sorted(glob.glob(f'{_PCI}/devices/*')):
        if (int(device.read(f'{path}/vendor'), 16),
                int(device.read(f'{path}/device'), 16)) == (_VIRTIO, number):
            return path
    raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))


class _Queue:
    """A queue of a virtio device that is taken from its driver."""

    def __init__(self, number, queue, features=0):
        path = _pci(number)
        with contextlib.suppress(OSError):  # no driver has it
            device.write(f'{_PCI}/drivers/virtio-pci/unbind',
                         os.path.basename(path))
        with device.opened(f'{path}/config', os.O_RDWR) as fd:
            os.pwrite(fd, b'\7', 4)  # its ports, memory, and DMA
        self._fd = os.open(f'{path}/resource0', os.O_RDWR)
        self._memory = _Memory()
        self._queue = queue
        self._set(_STATUS, 'B', 0)
        self._set(_STATUS, 'B', 3)
        self._set(_GUEST_FEATURES, 'I', features)
        self._set(_SELECT, 'H', queue)
        self._entries, = struct.unpack('H', os.pread(self._fd, 2, _SIZE))
        self._set(_QUEUE, 'I', self._memory.address // device.PAGE_BYTES)
        self._set(_STATUS, 'B', _DRIVER_OK)

    def _set(self, register, form, value):
        os.pwrite(self._fd, struct.pack(form, value), register)

    def give(self, address, size, flags=0):
        """Give the device a buffer, and wait until it has used it.

        :param address: physical
        """
        available = 16 * self._entries
        used = -(-(available + 6 + 2 * self._entries)
                 // device.PAGE_BYTES) * device.PAGE_BYTES
        view = self._memory.view
        view[:16] = struct.pack('QIHH', address, size, flags, 0)
        view[available:available + 6] = struct.pack('HHH', 0, 1, 0)
        self._set(_NOTIFY, 'H', self._queue)
        deadline = time.monotonic() + _USED_S
        while not struct.unpack_from('H', view, used + 2)[0]:
            if time.monotonic() > deadline:
                raise OSError(errno.ETIME, 'the device does not answer')
            time.sleep(0.05)

    def own(self, content):
        """Return the address of a place for content, which is put there."""
        self._memory.view[device.MIB:device.MIB + len(content)] = content
        return self._memory.address + device.MIB


def random_numbers():
    """Have the random number generator write to a page of the base."""
    _Queue(_RNG, 0).give(device.address() + 2 * device.MIB,
                         device.PAGE_BYTES, _WRITABLE)


def balloon():
    """Give the base's pages to the host as memory that nobody needs."""
    first = device.address() // device.PAGE_BYTES
    pages = int(device.read(f'{device.REGION}/size')) // device.PAGE_BYTES
    numbers = struct.pack(f'{pages}I', *range(first, first + pages))
    queue = _Queue(_BALLOON, _INFLATE_QUEUE)
    queue.give(queue.own(numbers), len(numbers))


def reported_pages():
    """Report pages of the base as free."""
    _Queue(_BALLOON, _REPORTING_QUEUE, _REPORTING).give(
        device.address() + 2 * device.MIB, device.PAGE_BYTES, _WRITABLE)


def configuration_space():
    """Write to all of the device's PCI configuration."""
    with device.opened(f'{_pci(_PMEM)}/config', os.O_RDWR) as fd:
        os.pwrite(fd, b'\xff' * 256, 0)


MEANS = (physical_write, physical_map, firmware, random_numbers, balloon,
         reported_pages, configuration_space)
