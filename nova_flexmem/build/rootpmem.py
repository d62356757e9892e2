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

"""root.pmem: the pfn superblock, then the root filesystem, padded to 2 MiB."""

import hashlib
import os

from nova_flexmem.store import basefiles
from nova_flexmem.store import superblock

_CHUNK_BYTES = 4 << 20


def write(path, filesystem, content_bytes, uuid, progress):
    """Write root.pmem.

    :param filesystem: a file that has the root filesystem at its start
    :param content_bytes: size of the root filesystem
    :param uuid: for the superblock
    :param progress: called with the fraction done, 0 to 1
    :returns: a basefiles.File
    """
    size = superblock.padded(superblock.DATA_OFFSET_BYTES + content_bytes)
    sha256 = hashlib.sha256()
    with open(filesystem, 'rb') as reading, open(path, 'xb') as writing:
        os.posix_fallocate(writing.fileno(), 0, size)

        def put(data):
            sha256.update(data)
            writing.write(data)

        put(superblock.pack(size, uuid))
        left = content_bytes
        while left:
            data = reading.read(min(_CHUNK_BYTES, left))
            put(data)
            left -= len(data)
            progress(1 - left / content_bytes)
        put(bytes(size - writing.tell()))
    return basefiles.File(size, sha256.hexdigest())
