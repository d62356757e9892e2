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

"""The pfn superblock at the head of root.pmem.

Linux gives a raw persistent memory region no DAX: it wants an fsdax
namespace, which a pfn info block makes. With it /dev/pmem0 begins at
DATA_OFFSET_BYTES. Layout and checksum: struct nd_pfn_sb in Linux
drivers/nvdimm/pfn.h, nd_sb_checksum() and nd_fletcher64().
"""

import array
import struct
import sys
import uuid as uuidlib

from oslo_utils import units

from nova_flexmem import exception

#: The root filesystem begins here; also the alignment of the whole file.
DATA_OFFSET_BYTES = ALIGN_BYTES = 2 * units.Mi

_OFFSET_BYTES = 4096
_SIZE_BYTES = 4096
_PAGE_BYTES = 4096
_PAGE_STRUCT_BYTES = 64
_SIGNATURE = b'NVDIMM_PFN_INFO\0'
_VERSION = (1, 4)
_MODE_RAM = 1  # the guest keeps its page structs in RAM, not on the device

# signature, uuid, parent uuid, flags, version major and minor, dataoff,
# npfns, mode, start_pad, end_trunc, align, page_size, page_struct_size
_FIELDS = struct.Struct('<16s16s16sIHHQQIIIIIH')


def padded(size_bytes):
    """Return a size rounded up to the alignment of a pmem region."""
    return -(-size_bytes // ALIGN_BYTES) * ALIGN_BYTES


def pack(file_size_bytes, uuid):
    """Return what goes before the root filesystem in root.pmem.

    :param file_size_bytes: of the whole root.pmem, a multiple of 2 MiB
    :param uuid: the identity that the guest sees as the pfn device's uuid
    :returns: DATA_OFFSET_BYTES bytes
    """
    block = bytearray(_SIZE_BYTES)
    _FIELDS.pack_into(
        block, 0, _SIGNATURE, uuidlib.UUID(uuid).bytes, bytes(16), 0,
        *_VERSION, DATA_OFFSET_BYTES,
        (file_size_bytes - DATA_OFFSET_BYTES) // _PAGE_BYTES, _MODE_RAM,
        0, 0, ALIGN_BYTES, _PAGE_BYTES, _PAGE_STRUCT_BYTES)
    struct.pack_into('<Q', block, _SIZE_BYTES - 8, _fletcher64(block))
    head = bytearray(DATA_OFFSET_BYTES)
    head[_OFFSET_BYTES:_OFFSET_BYTES + _SIZE_BYTES] = block
    return bytes(head)


def check(path, key, file_size_bytes, uuid):
    """Check the superblock of a root.pmem byte for byte.

    :raises: BaseDamaged if it can't be read, or is not the one that
        pack() would write
    """
    try:
        with open(path, 'rb') as f:
            head = f.read(DATA_OFFSET_BYTES)
    except OSError as e:
        raise exception.BaseDamaged(path=path, key=key, reason=e.strerror)
    if head != pack(file_size_bytes, uuid):
        raise exception.BaseDamaged(
            path=path, key=key, reason='the pfn superblock is damaged')


def _fletcher64(block):
    """Return Linux's Fletcher-64 of a block whose checksum field is zero."""
    words = array.array('I', bytes(block))
    if sys.byteorder == 'big':
        words.byteswap()
    low = high = 0
    for word in words:
        low = (low + word) & 0xffffffff
        high = (high + low) & 0xffffffff
    return high << 32 | low
