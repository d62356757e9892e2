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

"""root.pmem: the pfn superblock, then the root filesystem, padded to 2 MiB.

The file is written once. The appliance has it as a disk with one partition,
which begins behind the pfn superblock, and makes the root filesystem there;
the host then gives the filesystem its uuid and writes the pfn superblock.

The uuid follows from the filesystem's content. overlayfs keeps inode numbers
of the lower filesystem in the delta, and trusts them where the uuid is the
same: two filesystems that differ must never have one uuid.
"""

import dataclasses
import functools
import hashlib
import os
import uuid as uuidlib

from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore
from nova_flexmem.store import superblock

_CHUNK_BYTES = 4 << 20
_SECTOR_BYTES = 512
_BEGIN_BYTES = superblock.DATA_OFFSET_BYTES
_NIL_UUID = str(uuidlib.UUID(int=0))


@dataclasses.dataclass(frozen=True)
class RootPmem:
    """A root.pmem that is finished.

    :ivar file: the basefiles.File: its layout
    :ivar uuid: of the pfn superblock and of the root filesystem
    :ivar filesystem_bytes: size of the root filesystem
    """

    file: basefiles.File
    uuid: str
    filesystem_bytes: int


def layout_uuid(rootfs, sha256):
    """Return the uuid of a root filesystem.

    :param rootfs: its driver's name
    :param sha256: of the filesystem with the nil uuid, hexadecimal
    """
    return str(uuidlib.uuid5(basestore.NAMESPACE, f'{rootfs} {sha256}'))


def create(path, max_bytes):
    """Create the file for the appliance, as yet without any disk space.

    :param max_bytes: the largest root filesystem that it can take
    """
    with open(path, 'xb') as f:
        f.truncate(_BEGIN_BYTES + max_bytes)


def allocate(path, filesystem_bytes):
    """Take the disk space for a root filesystem.

    A disk that gets full later would fail the build after minutes.

    :raises: OSError if there is not enough
    """
    with open(path, 'r+b') as f:
        os.posix_fallocate(f.fileno(), 0, _BEGIN_BYTES + filesystem_bytes)


def add_partition(appliance, drive):
    """Let an appliance write to where the root filesystem goes.

    :param appliance: a running Appliance
    :param drive: the Drive of the file
    :returns: the partition's device file in the appliance
    """
    begin = _BEGIN_BYTES // _SECTOR_BYTES
    appliance.shell(
        f'size=$(blockdev --getsz {drive.device})\n'
        f'addpart {drive.device} 1 {begin} $((size - {begin}))\n'
        'udevadm settle')
    return f'{drive.device}1'


def finish(path, driver, progress):
    """Make a root.pmem of a file with a root filesystem in its place.

    :param driver: the RootFilesystem that made it
    :param progress: called with the fraction done, 0 to 1
    :returns: a RootPmem
    :raises: ProgramFailed if there is no filesystem; OSError
    """
    filesystem_bytes = driver.size_bytes(path, _BEGIN_BYTES)
    end = _BEGIN_BYTES + filesystem_bytes
    size = superblock.padded(end)
    with open(path, 'r+b', buffering=0) as f:
        _write(f, end, bytes(size - end))
        f.truncate(size)
        os.posix_fallocate(f.fileno(), 0, size)  # mkfs may have made holes
        _set_uuid(f, driver, _NIL_UUID)
        sha256 = _digest(f, _BEGIN_BYTES, end,
                         lambda part: progress(part / 2))
        uuid = layout_uuid(driver.name, sha256)
        _set_uuid(f, driver, uuid)
        _write(f, 0, superblock.pack(size, uuid))
        sha256 = _digest(f, 0, size, lambda part: progress(0.5 + part / 2))
    return RootPmem(basefiles.File(size, sha256), uuid, filesystem_bytes)


def _set_uuid(f, driver, uuid):
    offset = _BEGIN_BYTES + driver.superblock_offset
    f.seek(offset)
    _write(f, offset, driver.with_uuid(f.read(driver.superblock_bytes), uuid))


def _write(f, offset, data):
    f.seek(offset)
    view = memoryview(data)
    while view:
        view = view[f.write(view):]


def _digest(f, begin, end, progress):
    """Return the SHA-256 of a part of a file."""
    sha256 = hashlib.sha256()
    f.seek(begin)
    left = end - begin
    for chunk in iter(functools.partial(f.read, _CHUNK_BYTES), b''):
        sha256.update(memoryview(chunk)[:left])
        left -= len(chunk)
        if left <= 0:
            break
        progress(1 - left / (end - begin))
    progress(1.0)
    return sha256.hexdigest()
