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

"""Writes through what the guest's kernel has: disks, files, namespaces."""

import contextlib
import fcntl
import glob
import mmap
import os
import struct

from tests.drills.hostile import device

#: include/uapi/linux/fs.h and ndctl.h
_BLKDISCARD, _BLKSECDISCARD, _BLKZEROOUT = 0x1277, 0x127d, 0x127f
_BLKFLSBUF = 0x1261
_SET_CONFIG_DATA, _CLEAR_ERROR = 0xc0084e06, 0xc0204e04
_CONFIG_BYTES = 4096

_MS_REMOUNT = 32
_LOWER = b'/run/flexmem/lower'
#: Of the image's data, one with some pages.
_FILE = os.fsdecode(_LOWER) + '/srv/data/0008'
#: The guest's own disk.
_DELTA = '/dev/vda'

_FINIT_MODULE = 313


def _write_all(flags):
    with mmap.mmap(-1, device.MIB) as part, device.opened(
            device.PMEM, os.O_WRONLY | flags) as fd:
        device.fill(part)
        for _part in range(device.size_bytes() // device.MIB):
            os.write(fd, part)
        os.fsync(fd)


def as_it_is():
    _write_all(0)


def armed_disk():
    device.arm_disk()
    _write_all(0)


def armed_region():
    device.arm_region()
    _write_all(0)


def through_cache():
    device.arm()
    _write_all(0)


def direct():
    device.arm()
    _write_all(os.O_DIRECT)


def mapped():
    device.arm()
    with device.opened(device.PMEM, os.O_RDWR) as fd, mmap.mmap(
            fd, device.size_bytes()) as view:
        device.fill(view)
        view.flush()


def _ask_disk(request):
    device.arm()
    with device.opened(device.PMEM, os.O_RDWR) as fd:
        fcntl.ioctl(fd, request, struct.pack('QQ', 0, device.size_bytes()))


def discard():
    _ask_disk(_BLKDISCARD)


def secure_discard():
    _ask_disk(_BLKSECDISCARD)


def zero_out():
    _ask_disk(_BLKZEROOUT)


def flush():
    device.arm()
    with device.opened(device.PMEM, os.O_RDWR) as fd:
        os.fsync(fd)
        fcntl.ioctl(fd, _BLKFLSBUF)


def _remount():
    device.arm()
    device.call(device.LIBC.mount, b'none', _LOWER, b'none', _MS_REMOUNT,
                b'')


def file():
    _remount()
    with device.opened(_FILE, os.O_WRONLY) as fd:
        os.write(fd, b'written by guest')
        os.fsync(fd)


@contextlib.contextmanager
def _mapped_file():
    _remount()
    with device.opened(_FILE, os.O_RDWR) as fd, mmap.mmap(fd, 0) as view:
        yield view


def mapped_file():
    with _mapped_file() as view:
        device.fill(view)
        view.flush()


def disk_to_file():
    """Have the guest's disk read into a page of the base."""
    with _mapped_file() as view, device.opened(
            _DELTA, os.O_RDONLY | os.O_DIRECT) as fd:
        os.readv(fd, [view])


def label():
    with device.opened('/dev/nmem0', os.O_RDWR) as fd:
        fcntl.ioctl(fd, _SET_CONFIG_DATA, bytearray(
            struct.pack('II', 0, _CONFIG_BYTES) + bytes(_CONFIG_BYTES + 4)))


def clear_error():
    with device.opened('/dev/ndctl0', os.O_RDWR) as fd:
        fcntl.ioctl(fd, _CLEAR_ERROR, bytearray(struct.pack(
            'QQIIQ', device.address(), device.size_bytes(), 0, 0, 0)))


def _unbind():
    """Take the namespace from the disk; returns its name."""
    device.arm()
    name = os.path.basename(os.path.realpath(
        f'/sys/block/{os.path.basename(device.PMEM)}/device'))
    namespace = device.read(f'{device.ND}/devices/{name}/namespace')
    device.write(f'{device.ND}/drivers/nd_pmem/unbind', name)
    device.write(f'{device.ND}/devices/{name}/namespace', '\n')
    return namespace


def raw_namespace():
    """Have the disk begin at the superblock, and write to all of it."""
    namespace = _unbind()
    device.write(f'{device.ND}/devices/{namespace}/force_raw', '1')
    device.write(f'{device.ND}/drivers/nd_pmem/bind', namespace)
    before = device.content(os.O_DIRECT)
    device.arm()
    _write_all(os.O_DIRECT)
    return device.changed_bytes(before, device.content(os.O_DIRECT))


def character_device():
    """Have device DAX, which has no disk and no page cache."""
    for name in 'device_dax', 'dax_pmem':
        with device.opened(f'/modules/{name}.ko', os.O_RDONLY) as fd:
            device.call(device.LIBC.syscall, _FINIT_MODULE, fd, b'', 0)
    namespace = _unbind()
    name = device.read(f'{device.REGION}/dax_seed')
    for attribute, value in (
            ('mode', 'ram'), ('align', str(2 << 20)),
            ('uuid', device.read('/proc/sys/kernel/random/uuid')),
            ('namespace', namespace)):
        device.write(f'{device.ND}/devices/{name}/{attribute}', value)
    device.write(f'{device.ND}/drivers/dax_pmem/bind', name)
    [path] = glob.glob('/dev/dax*')
    size = int(device.read(
        f'/sys/bus/dax/devices/{os.path.basename(path)}/size'))
    with device.opened(path, os.O_RDWR) as fd, mmap.mmap(fd, size) as view:
        before = view[:]
        device.fill(view)
        return device.changed_bytes(before, view[:])


MEANS = (as_it_is, armed_disk, armed_region, through_cache, direct, mapped,
         discard, secure_discard, zero_out, flush, file, mapped_file,
         disk_to_file, label, clear_error, raw_namespace, character_device)
