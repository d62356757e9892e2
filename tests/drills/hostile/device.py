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

"""The FlexMem device as a guest has it, and all that it may take back of it.

This package runs in guests, with nothing but Python's standard library.
"""

import contextlib
import ctypes
import fcntl
import mmap
import os
import struct

PMEM = '/dev/pmem0'
ND = '/sys/bus/nd'
REGION = f'{ND}/devices/region0'
MIB = 1 << 20
PAGE_BYTES = mmap.PAGESIZE

LIBC = ctypes.CDLL(None, use_errno=True)

_BLKROSET = 0x125d  # include/uapi/linux/fs.h


def call(function, *arguments):
    """Call one of LIBC's functions; raises OSError if it fails."""
    if function(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def read(path):
    with open(path, encoding='ascii') as f:
        return f.read().strip()


def write(path, text):
    """Write to a file of sysfs."""
    with open(path, 'w', encoding='ascii') as f:
        f.write(text)


def address():
    """Return the physical address of root.pmem in the guest."""
    return int(read(f'{REGION}/resource'), 16)


def size_bytes():
    """Return the size of PMEM."""
    return int(read(f'/sys/block/{os.path.basename(PMEM)}/size')) * 512


@contextlib.contextmanager
def opened(path, flags):
    """Give a file descriptor."""
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def fill(view):
    """Write to a mapping, all of it."""
    text = b'written by guest' * (MIB // 16)
    for start in range(0, len(view), MIB):
        part = min(MIB, len(view) - start)
        view[start:start + part] = text[:part]


def content(flags=0):
    """Return all bytes of PMEM, with flags of open(2)."""
    parts = []
    # as O_DIRECT wants it
    with mmap.mmap(-1, MIB) as part, opened(PMEM, os.O_RDONLY | flags) as fd:
        while size := os.readv(fd, [part]):
            parts.append(part[:size])
    return b''.join(parts)


def changed_bytes(before, after):
    """Return how much of two contents differs, in whole pages."""
    return PAGE_BYTES * sum(
        before[start:start + PAGE_BYTES] != after[start:start + PAGE_BYTES]
        for start in range(0, len(before), PAGE_BYTES))


def arm_region():
    write(f'{REGION}/read_only', '0')


def arm_disk():
    """Do as blockdev --setrw."""
    with opened(PMEM, os.O_RDONLY) as fd:
        fcntl.ioctl(fd, _BLKROSET, struct.pack('i', 0))


def arm():
    """Take back all that makes the device read-only, as far as that goes."""
    for take_back in arm_region, arm_disk:
        with contextlib.suppress(OSError):
            take_back()
