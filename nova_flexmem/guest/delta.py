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

"""Makes deltas: private writable disks of instances, with an empty ext4."""

import os

from nova_flexmem import exception
from nova_flexmem import process

#: A smaller delta has no room for a journal and a day's writes.
MIN_SIZE_BYTES = 64 << 20

#: Label of the ext4 on it.
LABEL = 'flexmem-delta'

#: What is_labelled() needs to see.
START_BYTES = 4096

#: Without features that kernels and e2fsprogs of older guests do not have.
_FEATURES = '^orphan_file,^metadata_csum_seed'


def create(path, size_bytes):
    """Make a delta, a sparse raw file with an empty ext4.

    A new sparse file is all zeros. mke2fs is told so, and neither it nor the
    guest's kernel writes tables of zeros.

    :param size_bytes: size of the delta, MIN_SIZE_BYTES at least
    :raises: ProgramFailed; there is no file then
    """
    if size_bytes < MIN_SIZE_BYTES:
        raise exception.ProgramFailed(
            program='mke2fs', reason=f'{path}: a delta of {size_bytes} bytes'
            f' is too small; use at least {MIN_SIZE_BYTES}')
    with open(path, 'xb') as f:
        f.truncate(size_bytes)
    try:
        process.run('mke2fs', '-q', '-F', '-t', 'ext4', '-b', '4096',
                    '-O', _FEATURES, '-L', LABEL, '-m', '1',
                    '-E', 'nodiscard,assume_storage_prezeroed=1,'
                    'root_owner=0:0', path, timeout_s=60,
                    limits=process.Limits(file_size_bytes=size_bytes,
                                          cpu_s=60))
    except exception.ProgramFailed:
        os.unlink(path)
        raise


def is_labelled(start):
    """Return whether a disk has the label of a delta.

    :param start: its first START_BYTES
    """
    # the superblock of ext4, linux/fs/ext4/ext4.h: at 1024; s_magic at 56,
    # s_volume_name at 120
    block = start[1024:]
    return (block[56:58] == b'\x53\xef' and
            block[120:136].rstrip(b'\0') == LABEL.encode())
