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

"""EROFS: read-only by design, without gaps, with DAX since Linux 5.15."""

import struct
import uuid as uuidlib

from nova_flexmem.build import rootfs

# struct erofs_super_block in Linux fs/erofs/erofs_fs.h
_MAGIC = 0xe0f5e1e2
_FIELDS = struct.Struct('<IIIBBHQQII')  # magic to blocks
_BLOCK_BYTES_LOG2 = 12
_CHECKSUM = struct.Struct('<II')  # and feature_compat, which says if it holds
_CHECKSUM_OFFSET = 4
_HAS_CHECKSUM = 1
_UUID_OFFSET = 48


#: mkfs.erofs 1.5 takes 5 KB of memory for each file. Of more files than these
#: it needs swap space, which is a file of the appliance's, on the host's disk.
_MANY_FILES = 80_000
_ADD_SWAP = ('truncate -s 3G /tmp/swap; loop=$(losetup -f --show /tmp/swap);'
             ' mkswap $loop > /tmp/log; swapon $loop;')


class Erofs(rootfs.RootFilesystem):

    name = 'erofs'
    program = 'mkfs.erofs'

    def holds(self, content):
        # mkfs.erofs 1.5 cuts off the last byte of such a name, and ends at
        # extended attributes of a kind that it does not know
        return not (content.longest_names or content.btrfs_properties)

    def room_bytes(self, content):
        # an inode is 64 bytes, its name and attributes a few hundred
        return content.blocks * 4096 + content.inodes * 512 + (16 << 20)

    def make(self, appliance, device, content):
        # noinline_data: the ends of files are in blocks of their own, which
        # alone can be mapped
        swap = _ADD_SWAP if content.inodes > _MANY_FILES else ''
        appliance.shell(
            f'{swap} SOURCE_DATE_EPOCH={rootfs.EPOCH} mkfs.erofs --quiet'
            f' -E noinline_data -U {uuidlib.UUID(int=0)} {device} /sysroot')

    def size_in(self, superblock):
        fields = _FIELDS.unpack_from(superblock)
        if fields[0] != _MAGIC or fields[3] != _BLOCK_BYTES_LOG2:
            return 0
        return fields[9] << _BLOCK_BYTES_LOG2

    def with_uuid(self, superblock, uuid):
        changed = bytearray(superblock)
        _checksum, features = _CHECKSUM.unpack_from(changed, _CHECKSUM_OFFSET)
        _CHECKSUM.pack_into(changed, _CHECKSUM_OFFSET, 0,
                            features & ~_HAS_CHECKSUM)
        changed[_UUID_OFFSET:_UUID_OFFSET + 16] = uuidlib.UUID(uuid).bytes
        return bytes(changed)
