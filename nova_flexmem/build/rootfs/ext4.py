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

"""ext4 without a journal, for guests whose kernel can't use EROFS."""

import struct

from nova_flexmem.build import rootfs

# struct ext4_super_block in Linux Documentation/filesystems/ext4
_MAGIC = 0xef53
_BLOCK_BYTES = 4096
_INODE_BYTES = 256

#: Room for extent trees, large extended attributes and group descriptors.
_SLACK = 1.03
_SLACK_BLOCKS = 1024

#: Kernels from before these features exist mount the filesystem too.
_FEATURES = '^has_journal,^resize_inode,^metadata_csum_seed,^orphan_file'


class Ext4(rootfs.RootFilesystem):

    name = 'ext4'
    program = 'mke2fs'

    def room_bytes(self, content):
        blocks = content.blocks + (_inodes(content) * _INODE_BYTES
                                   // _BLOCK_BYTES)
        return (int(blocks * _SLACK) + _SLACK_BLOCKS) * _BLOCK_BYTES

    def make(self, appliance, device, content, uuid):
        blocks = self.room_bytes(content) // _BLOCK_BYTES
        appliance.shell(
            f'E2FSPROGS_FAKE_TIME={rootfs.EPOCH} mke2fs -q -F -t ext4'
            f' -b {_BLOCK_BYTES} -I {_INODE_BYTES} -N {_inodes(content)}'
            f' -m 0 -O {_FEATURES}'
            f' -E hash_seed={uuid},root_owner=0:0,nodiscard,'
            f'assume_storage_prezeroed=1'
            f' -U {uuid} -d /sysroot {device} {blocks}')

    def size_in(self, superblock):
        if struct.unpack_from('<H', superblock, 56)[0] != _MAGIC:
            return 0
        return struct.unpack_from('<I', superblock, 4)[0] * _BLOCK_BYTES


def _inodes(content):
    return content.inodes + 64  # ext4's own, and lost+found
