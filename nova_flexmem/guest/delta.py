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

"""The delta: an instance's private writable disk, an ext4 that is empty."""

import os

from nova_flexmem import exception
from nova_flexmem import process

#: Less than this has no room for a journal and a day's writes.
MIN_SIZE_BYTES = 64 << 20

#: Older guests' kernels and e2fsprogs do not know these features.
_FEATURES = '^orphan_file,^metadata_csum_seed'


def create(path, size_bytes):
    """Make a delta: a sparse raw file with an empty ext4.

    A new sparse file is all zeros, which mke2fs is told: neither it nor the
    guest then writes tables of zeros.

    :raises: ProgramFailed, and then there is no file
    """
    if size_bytes < MIN_SIZE_BYTES:
        raise exception.ProgramFailed(
            program='mke2fs', reason=f'{path}: a delta of {size_bytes} bytes'
            f' is too small; {MIN_SIZE_BYTES} at least')
    with open(path, 'xb') as f:
        f.truncate(size_bytes)
    try:
        process.run('mke2fs', '-q', '-F', '-t', 'ext4', '-b', '4096',
                    '-O', _FEATURES, '-L', 'flexmem-delta', '-m', '1',
                    '-E', 'nodiscard,assume_storage_prezeroed=1,'
                    'root_owner=0:0', path, timeout_s=60,
                    limits=process.Limits(file_size_bytes=size_bytes,
                                          cpu_s=60))
    except exception.ProgramFailed:
        os.unlink(path)
        raise
