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

"""ext4 without a journal, for guests whose kernel cannot use EROFS."""

import struct
import uuid as uuidlib

from nova_flexmem.build import rootfs

# struct ext4_super_block in Linux Documentation/filesystems/ext4
_MAGIC = 0xef53
_BLOCK_BYTES = 4096
_INODE_BYTES = 256

#: Room for extent trees, large extended attributes and group descriptors.
_SLACK = 1.03
_SLACK_BLOCKS = 1024

#: The uuid is set later, so it is part of no checksum (metadata_csum,
#: uninit_bg) and in no second superblock (num_backup_sb below). Kernels from
#: before metadata_csum_seed and orphan_file mount the filesystem too.
_FEATURES = ('^has_journal,^resize_inode,^metadata_csum,^metadata_csum_seed,'
             '^uninit_bg,^orphan_file,^sparse_super,sparse_super2')

#: mke2fs would take a random one. Names in a base can be no secret.
_HASH_SEED = 'd3a1b6c2-5f0e-4c8b-9a7d-2e6f81c04b53'

#: mke2fs 1.47.2 makes 2038 of later times where it writes only 32 bits, and
#: 1.47.0 does not. Up to that time both write the same filesystem.
_EPOCH = (1 << 31) - 1

_UUID_OFFSET = 104


class Ext4(rootfs.RootFilesystem):

    name = 'ext4'
    program = 'mke2fs'

    def room_bytes(self, content):
        blocks = content.blocks + (_inodes(content) * _INODE_BYTES
                                   // _BLOCK_BYTES)
        return (int(blocks * _SLACK) + _SLACK_BLOCKS) * _BLOCK_BYTES

    def make(self, appliance, device, content):
        blocks = self.room_bytes(content) // _BLOCK_BYTES
        appliance.shell(
            f'E2FSPROGS_FAKE_TIME={_EPOCH} mke2fs -q -F -t ext4'
            f' -b {_BLOCK_BYTES} -I {_INODE_BYTES} -N {_inodes(content)}'
            f' -m 0 -O {_FEATURES}'
            f' -E hash_seed={_HASH_SEED},root_owner=0:0,nodiscard,'
            'assume_storage_prezeroed=1,num_backup_sb=0'
            f' -U {uuidlib.UUID(int=0)} -d /sysroot {device} {blocks}\n'
            + _fixed_change_time(device, '/etc/fstab'))

    def size_in(self, superblock):
        if struct.unpack_from('<H', superblock, 56)[0] != _MAGIC:
            return 0
        return struct.unpack_from('<I', superblock, 4)[0] * _BLOCK_BYTES

    def with_uuid(self, superblock, uuid):
        return (superblock[:_UUID_OFFSET] + uuidlib.UUID(uuid).bytes
                + superblock[_UUID_OFFSET + 16:])


def _inodes(content):
    return content.inodes + 64  # ext4's own, and lost+found


def _fixed_change_time(device, path):
    """Return a script that gives a file laid over the image's a fixed ctime.

    It was made during the build; no program can set that time of a file.
    """
    return f"""
        if grep -q ' /sysroot{path} ' /proc/mounts; then
            printf '%s\\n' 'set_inode_field {path} ctime @{_EPOCH}' \\
                'set_inode_field {path} ctime_extra 0' > /tmp/fixed
            E2FSPROGS_FAKE_TIME={_EPOCH} debugfs -w -f /tmp/fixed {device} 2>&1
        fi"""
