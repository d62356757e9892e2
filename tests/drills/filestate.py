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

"""The state of a file on the host, in which any write to it shows."""

import dataclasses
import hashlib
import mmap
import os
import re

from nova_flexmem.store import basefiles

_PART_BYTES = 1 << 20

_DIRTY = re.compile(r'^(?:Shared|Private)_Dirty: +(\d+) kB$', re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class State:
    """What a file is.

    :ivar cached_sha256: of its bytes in the page cache
    :ivar disk_sha256: of its bytes on the disk
    :ivar dirty_kib: how much of the page cache is not on the disk yet
    :ivar times: when its content and its attributes were changed, in ns
    """

    cached_sha256: str
    disk_sha256: str
    dirty_kib: int
    times: tuple[int, int]

    @classmethod
    def of(cls, path):
        """Return the State of a file whose size is a multiple of 1 MiB."""
        # to read from the disk is to write what is dirty
        dirty_kib = _dirty_kib(path)
        status = os.stat(path)
        return cls(basefiles.File.of(path).sha256, _disk_sha256(path),
                   dirty_kib, (status.st_mtime_ns, status.st_ctime_ns))


def _dirty_kib(path):
    with open(path, 'rb') as f, mmap.mmap(
            f.fileno(), 0, mmap.MAP_SHARED | mmap.MAP_POPULATE,
            mmap.PROT_READ), open('/proc/self/smaps') as smaps:
        _before, _path, mapping = smaps.read().partition(f' {path}\n')
    return sum(map(int, _DIRTY.findall(mapping[:mapping.index('VmFlags')])))


def _disk_sha256(path):
    sha256 = hashlib.sha256()
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, _PART_BYTES) as part:
            while size := os.readv(fd, [part]):
                sha256.update(part[:size])
    finally:
        os.close(fd)
    return sha256.hexdigest()
