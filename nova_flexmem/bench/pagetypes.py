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

"""What each page of a guest's RAM is to the guest, and to the host.

The guest's kernel tells what it uses each of its page frames for
(/proc/kpageflags, Documentation/admin-guide/mm/pagemap.rst); the host's kernel
tells which of them have memory, and which KSM merged (/proc/PID/pagemap and
its own /proc/kpageflags).
"""

import base64
import binascii
import dataclasses
import os
import zlib

import numpy
from oslo_utils import units

from nova_flexmem import exception
from nova_flexmem.host import memory
from nova_flexmem.host import pages

#: Bits of kpageflags.
_BUDDY, _ANON, _SWAPBACKED, _TAIL, _NOPAGE, _KSM, _ZERO = (
    1 << bit for bit in (10, 12, 14, 16, 20, 21, 24))
_LRU = 1 << 5

#: Bits of pagemap.
_PRESENT = 1 << 63
_FRAME = (1 << 55) - 1

#: Up to here the page frames of a guest's RAM are one run from 0 (machine
#: types pc and q35: above comes the gap for PCI).
LIMIT_BYTES = 2 << 30

_CHUNK_BYTES = units.Mi

TYPES = ('kernel', 'page cache', 'anonymous', 'free')
_KERNEL, _CACHE, _ANONYMOUS, _FREE = range(len(TYPES))

# compressed: a serial port is slow
_FLAGS = 'head -c {size} /proc/kpageflags | gzip -c | base64 -w 0'


@dataclasses.dataclass(frozen=True)
class Part:
    """The pages of one type in a guest's RAM.

    :ivar private_bytes: that have memory of their own
    :ivar merged_bytes: that share what KSM has merged
    """

    private_bytes: int
    merged_bytes: int


@dataclasses.dataclass(frozen=True)
class Look:
    """The pages of a guest's RAM, as both kernels told at one time.

    :ivar flags: of the guest's page frames
    :ivar private: whether each has memory of its own
    :ivar merged: whether each shares what KSM has merged
    """

    flags: numpy.ndarray
    private: numpy.ndarray
    merged: numpy.ndarray

    def part(self, chosen):
        """Return the Part of some pages, an array of bool."""
        return Part(_size(self.private & chosen), _size(self.merged & chosen))


def check_size(ram_size_bytes):
    """Check that page types can be read in guests with this much RAM.

    :raises: BenchFailed if not
    """
    if ram_size_bytes > LIMIT_BYTES:
        raise exception.BenchFailed(
            reason=f'page types of guests with more than {LIMIT_BYTES >> 20}'
            ' MiB of RAM cannot be told; give less with --ram-mib, or none'
            ' with --ksm-counts ""')


def look(guest, ram_size_bytes, host_flags):
    """Return a Look at the pages of a guest's RAM.

    :param guest: a running demo.guest.Guest that takes scripts
    :param ram_size_bytes: the size of its RAM, LIMIT_BYTES at most
    :param host_flags: as host_flags() has them, taken just now
    :raises: BenchFailed if one of the kernels doesn't tell
    """
    flags = _guest_flags(guest, ram_size_bytes)
    return Look(flags, *host_states(_pagemap(guest.pid, ram_size_bytes),
                                    host_flags))


def parts(taken):
    """Return the Parts of a guest's RAM by type, a dict with all TYPES.

    :param taken: a Look
    """
    types = guest_types(taken.flags)
    return {name: taken.part(types == number)
            for number, name in enumerate(TYPES)}


def total(each_parts):
    """Return the Parts of several guests together.

    :param each_parts: dicts of Parts, with the same keys
    """
    return {name: Part(sum(each[name].private_bytes for each in each_parts),
                       sum(each[name].merged_bytes for each in each_parts))
            for name in each_parts[0]}


def host_flags():
    """Return the flags of all page frames of the host.

    :raises: BenchFailed if this user may not look
    """
    parts = []
    try:
        # the kernel takes whole words alone, which Python's own buffers
        # are not always
        with open('/proc/kpageflags', 'rb', buffering=0) as f:
            while part := f.read(_CHUNK_BYTES):
                parts.append(part)
    except OSError as e:
        raise exception.BenchFailed(
            reason=f'the page flags of this host cannot be read ({e}); only'
            ' root may')
    return _words(b''.join(parts))


def guest_types(flags):
    """Return numbers of TYPES, one for each page frame.

    The parts of a compound page are of the type of its head. Pages of tmpfs
    are anonymous: no file has them. A page without any flag is in use by the
    kernel.
    """
    types = numpy.full(len(flags), _KERNEL)
    types[(flags & _LRU) != 0] = _CACHE
    types[(flags & (_ANON | _SWAPBACKED)) != 0] = _ANONYMOUS
    types[(flags & _BUDDY) != 0] = _FREE
    # the device's frames, and holes, hold nothing of the guest
    types[(flags & _NOPAGE) != 0] = _KERNEL
    return types[heads(flags)]


def heads(flags):
    """Return the number of each page's head, of itself in a single page."""
    head = numpy.where((flags & _TAIL) == 0, numpy.arange(len(flags)), 0)
    return numpy.maximum.accumulate(head)


def host_states(entries, flags):
    """Return which pages have memory of their own, and which are merged.

    :param entries: of a pagemap
    :param flags: of all page frames of the host
    :returns: two arrays of bool, one element for each entry
    """
    present = (entries & _PRESENT) != 0
    frames = numpy.where(present, entries & _FRAME, 0)
    # memory that came while one read has frames beyond
    known = frames < len(flags)
    page_flags = numpy.where(
        present & known, flags[numpy.where(known, frames, 0)], 0)
    merged = present & ((page_flags & _KSM) != 0)
    zero = (page_flags & _ZERO) != 0
    return present & ~merged & ~zero, merged


def _guest_flags(guest, ram_size_bytes):
    check_size(ram_size_bytes)
    size = ram_size_bytes // pages.PAGE_BYTES * 8
    text = guest.output(_FLAGS.format(size=size))
    try:
        flags = _words(zlib.decompress(base64.b64decode(text, validate=True),
                                       wbits=zlib.MAX_WBITS | 16))
    except (binascii.Error, zlib.error, ValueError) as e:
        raise exception.BenchFailed(
            reason=f'guest {guest.name}: its kernel tells nothing of its'
            f' pages ({e}): {text[:200]}')
    if len(flags) * 8 != size:
        raise exception.BenchFailed(
            reason=f'guest {guest.name}: its kernel tells of {len(flags)}'
            f' pages instead of {size // 8}')
    return flags


def _pagemap(pid, ram_size_bytes):
    """Return the pagemap entries of a guest's RAM."""
    areas = memory.guest_ram(memory.parse(memory.read(pid, 'maps')),
                             ram_size_bytes)
    if [area.size_bytes for area in areas] != [ram_size_bytes]:
        raise exception.BenchFailed(
            reason=f'process {pid}: its guest\'s RAM is no mapping of its own')
    fd = os.open(f'/proc/{pid}/pagemap', os.O_RDONLY)
    try:
        return _words(os.pread(fd, ram_size_bytes // pages.PAGE_BYTES * 8,
                               areas[0].start // pages.PAGE_BYTES * 8))
    finally:
        os.close(fd)


def _words(content):
    return numpy.frombuffer(content, dtype='<u8')


def _size(chosen):
    return int(numpy.count_nonzero(chosen)) * pages.PAGE_BYTES
