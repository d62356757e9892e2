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

"""Reads from page tables which pages of a process are in memory.

Linux 6.7 and later return runs of present pages by the PAGEMAP_SCAN ioctl of
/proc/PID/pagemap, which skips absent pages fast. On older kernels that file is
read, eight bytes for each page. Sources:
Documentation/admin-guide/mm/pagemap.rst and include/uapi/linux/fs.h.
"""

import array
import ctypes
import errno
import fcntl
import mmap
import os
import struct

PAGE_BYTES = os.sysconf('SC_PAGE_SIZE')

_SCAN = 0xC0606610  # _IOWR('f', 16, struct pm_scan_arg)
_SCAN_ARG = struct.Struct('12Q')
_PRESENT, _ZERO_PAGE = 1 << 3, 1 << 5  # PAGE_IS_PRESENT, PAGE_IS_PFNZERO
_REGIONS = 1024  # per call of the ioctl

# Python's own mmap module does not tell the address of a mapping
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int,
                       ctypes.c_int, ctypes.c_int, ctypes.c_long)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.munmap.argtypes = ctypes.c_void_p, ctypes.c_size_t
_LIBC.mincore.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p
_MAP_FAILED = ctypes.c_void_p(-1).value

_ENTRY_BYTES = 8
_CHUNK_PAGES = 1 << 18

#: For each top byte of an entry, whether its page counts as present. Bits of
#: an entry: 63 present, 61 page of a file or shared, 57 write-protected by
#: userfaultfd, 56 mapped by no other process. The zero page and pages that KSM
#: merged are left out: they have neither bit 61 nor bit 56.
_PRESENT_BY_TOP_BYTE = bytes(top in b'\x81\x83\xa0\xa1\xa2\xa3'
                             for top in range(256))


class Pagemap:
    """The pagemap of a process; a context manager.

    :ivar with_merged: whether runs() included pages that KSM merged; it does
        where the kernel has the ioctl
    :raises: OSError if the process has ended, or this user may not read it
    """

    with_merged = False

    def __init__(self, pid):
        self._fd = os.open(f'/proc/{pid}/pagemap', os.O_RDONLY)

    def __enter__(self):
        return self

    def __exit__(self, *_exc_info):
        os.close(self._fd)

    def runs(self, start, end):
        """Return the runs of present pages in a range of addresses.

        The zero page does not count as present.

        :param start: first address, a multiple of the page size
        :param end: address after the last one, likewise
        :returns: [(first, end)], sorted; page numbers, counted from start
        """
        try:
            runs = self._scan_runs(start, end)
        except OSError as e:
            if e.errno != errno.ENOTTY:
                raise
            return self.read_runs(start, end)
        self.with_merged = True
        return runs

    def _scan_runs(self, start, end):
        """Do what runs() does, with the ioctl.

        :raises: OSError with ENOTTY if the kernel does not have it
        """
        regions = array.array('Q', bytes(_REGIONS * 24))
        address, _items = regions.buffer_info()
        runs: list[tuple[int, int]] = []
        count, position = _REGIONS, start
        while count == _REGIONS and position < end:
            count = fcntl.ioctl(self._fd, _SCAN, bytearray(_SCAN_ARG.pack(
                _SCAN_ARG.size, 0, position, end, 0, address, _REGIONS, 0,
                _ZERO_PAGE, _PRESENT | _ZERO_PAGE, 0, _PRESENT)))
            runs += [((regions[i] - start) // PAGE_BYTES,
                      (regions[i + 1] - start) // PAGE_BYTES)
                     for i in range(0, 3 * count, 3)]
            # not walk_end of the answer: Linux 6.18 returns an earlier address
            # there when the last region ends at the end of the range
            position = regions[3 * count - 2]
        return runs

    def read_runs(self, start, end):
        """Do what runs() does, without the ioctl and without merged pages."""
        runs = []
        first, pages = start // PAGE_BYTES, (end - start) // PAGE_BYTES
        for done in range(0, pages, _CHUNK_PAGES):
            entries = os.pread(
                self._fd, min(_CHUNK_PAGES, pages - done) * _ENTRY_BYTES,
                (first + done) * _ENTRY_BYTES)
            present = entries[_ENTRY_BYTES - 1::_ENTRY_BYTES].translate(
                _PRESENT_BY_TOP_BYTE)
            run = present.find(1)
            while run >= 0:
                after = present.find(0, run)
                if after < 0:
                    after = len(present)
                runs.append((done + run, done + after))
                run = present.find(1, after)
        return runs


def size_bytes(runs):
    """Return the size of runs of pages, in bytes."""
    return sum(end - first for first, end in runs) * PAGE_BYTES


def resident_bytes(path):
    """Return how many bytes of a file are in the page cache (mincore(2)).

    :raises: OSError
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        address = _call(_LIBC.mmap, None, size, mmap.PROT_READ,
                        mmap.MAP_SHARED, fd, 0)
    finally:
        os.close(fd)
    try:
        flags = ctypes.create_string_buffer(-(-size // PAGE_BYTES))
        _call(_LIBC.mincore, address, size, flags)
    finally:
        _call(_LIBC.munmap, address, size)
    return flags.raw.count(1) * PAGE_BYTES


def _call(function, *arguments):
    """Call a function of libc; return its result.

    :raises: OSError
    """
    result = function(*arguments)
    if result == _MAP_FAILED or result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


class PageSet:
    """A set of the pages of one file."""

    def __init__(self):
        self._pages = 0  # an integer with one byte for each page

    def add(self, runs, offset_bytes):
        """Add the pages of a mapping of the file.

        :param runs: runs of pages of the mapping, from Pagemap.runs()
        :param offset_bytes: where in the file the mapping begins
        """
        if runs:
            shift = offset_bytes // PAGE_BYTES
            flags = bytearray(shift + runs[-1][1])
            for first, end in runs:
                flags[shift + first:shift + end] = b'\1' * (end - first)
            self._pages |= int.from_bytes(flags, 'little')

    @property
    def size_bytes(self):
        """The size of all pages in the set."""
        return self._pages.bit_count() * PAGE_BYTES
