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

import os
import struct
import uuid

import fixtures
import testtools

from nova_flexmem import exception
from nova_flexmem.store import superblock

MIB = 1 << 20

#: A block that Linux 6.1 took, without its zeros: the fields, the checksum.
_GOLDEN_UUID = '7e44b694-bb05-5474-9b32-6c3e39335f55'
_GOLDEN_FILE_BYTES = 562036736
_GOLDEN_FIELDS = bytes.fromhex(
    '4e5644494d4d5f50464e5f494e464f00'  # NVDIMM_PFN_INFO
    '7e44b694bb0554749b326c3e39335f55'
    '00000000000000000000000000000000'
    '00000000' '0100' '0400'
    '0000200000000000' '0016020000000000'
    '01000000' '00000000' '00000000'
    '00002000' '00100000' '4000')
_GOLDEN_CHECKSUM = bytes.fromhex('7e0e6e808eb0d66a')


def _fletcher64(block):
    """nd_fletcher64() of Linux drivers/nvdimm/core.c, said once more."""
    low = high = 0
    for offset in range(0, len(block), 4):
        low = (low + int.from_bytes(block[offset:offset + 4], 'little')) \
            % 2 ** 32
        high = (high + low) % 2 ** 64
    return (high * 2 ** 32 + low) % 2 ** 64


class SuperblockTest(testtools.TestCase):

    def _block(self, size=10 * MIB, identity=_GOLDEN_UUID):
        head = superblock.pack(size, identity)
        self.assertEqual(2 * MIB, len(head))
        return head[4096:8192]

    def test_golden(self):
        block = self._block(_GOLDEN_FILE_BYTES)
        self.assertEqual(_GOLDEN_FIELDS, block[:len(_GOLDEN_FIELDS)])
        self.assertEqual(_GOLDEN_CHECKSUM, block[-8:])
        self.assertEqual(b'', block[len(_GOLDEN_FIELDS):-8].strip(b'\0'))

    def test_nothing_else_before_the_filesystem(self):
        head = superblock.pack(10 * MIB, _GOLDEN_UUID)
        self.assertEqual(b'', head[:4096].strip(b'\0'))
        self.assertEqual(b'', head[8192:].strip(b'\0'))

    def test_fields_where_the_kernel_looks(self):
        """Offsets as struct nd_pfn_sb in Linux drivers/nvdimm/pfn.h."""
        identity = str(uuid.uuid4())
        block = self._block(10 * MIB, identity)

        def at(offset, kind):
            return struct.unpack_from(f'<{kind}', block, offset)[0]

        self.assertEqual(b'NVDIMM_PFN_INFO\0', block[:16])
        self.assertEqual(uuid.UUID(identity).bytes, block[16:32])
        self.assertEqual(bytes(16), block[32:48])  # no parent
        self.assertEqual(0, at(48, 'I'))  # flags
        self.assertEqual((1, 4), (at(52, 'H'), at(54, 'H')))
        self.assertEqual(2 * MIB, at(56, 'Q'))  # dataoff
        self.assertEqual(8 * MIB // 4096, at(64, 'Q'))  # npfns
        self.assertEqual(1, at(72, 'I'))  # mode: PFN_MODE_RAM
        self.assertEqual((0, 0), (at(76, 'I'), at(80, 'I')))
        self.assertEqual(2 * MIB, at(84, 'I'))  # align
        self.assertEqual(4096, at(88, 'I'))
        self.assertEqual(64, at(92, 'H'))

    def test_checksum(self):
        for size in (4 * MIB, 64 * MIB, 1 << 40):
            block = self._block(size, str(uuid.uuid4()))
            self.assertEqual(_fletcher64(block[:-8] + bytes(8)),
                             int.from_bytes(block[-8:], 'little'))

    def test_padded(self):
        self.assertEqual(2 * MIB, superblock.padded(1))
        self.assertEqual(2 * MIB, superblock.padded(2 * MIB))
        self.assertEqual(4 * MIB, superblock.padded(2 * MIB + 1))

    def test_check_finds_any_flipped_bit(self):
        folder = self.useFixture(fixtures.TempDir()).path
        path = os.path.join(folder, 'root.pmem')
        head = superblock.pack(10 * MIB, _GOLDEN_UUID)
        for position in (None, 0, 4096, 4096 + 60, 8191, 2 * MIB - 1):
            content = bytearray(head)
            if position is not None:
                content[position] ^= 4
            with open(path, 'wb') as f:
                f.write(content)
            if position is None:
                superblock.check(path, 'key', 10 * MIB, _GOLDEN_UUID)
                continue
            e = self.assertRaises(
                exception.BaseDamaged, superblock.check, path, 'key',
                10 * MIB, _GOLDEN_UUID)
            self.assertIn(path, str(e))

    def test_check_finds_a_short_file(self):
        folder = self.useFixture(fixtures.TempDir()).path
        path = os.path.join(folder, 'root.pmem')
        with open(path, 'wb') as f:
            f.write(superblock.pack(10 * MIB, _GOLDEN_UUID)[:MIB])
        self.assertRaises(exception.BaseDamaged, superblock.check, path,
                          'key', 10 * MIB, _GOLDEN_UUID)
