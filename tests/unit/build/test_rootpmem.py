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

import fixtures
import testtools

from nova_flexmem.build import rootpmem
from nova_flexmem import exception
from nova_flexmem.store import superblock

_UUID = '00000000-0000-0000-0000-000000000007'
_MIB = 1 << 20


class RootPmemTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        folder = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(folder, 'root.pmem')
        self.filesystem = os.path.join(folder, 'rootfs')
        self.content = os.urandom(5 * _MIB)
        with open(self.filesystem, 'wb') as f:
            f.write(self.content)
            f.truncate(64 * _MIB)

    def test_layout(self):
        parts = []
        written = rootpmem.write(self.path, self.filesystem,
                                 len(self.content), _UUID, parts.append)
        self.assertEqual(8 * _MIB, written.size_bytes)
        with open(self.path, 'rb') as f:
            found = f.read()
        self.assertEqual(self.content.ljust(6 * _MIB, b'\0'),
                         found[superblock.DATA_OFFSET_BYTES:])
        superblock.check(self.path, 'key', written.size_bytes, _UUID)
        self.assertEqual(1.0, parts[-1])

    def test_digest(self):
        written = rootpmem.write(self.path, self.filesystem,
                                 len(self.content), _UUID, lambda _part: None)
        self.assertEqual(type(written).of(self.path), written)

    def test_holes_are_filled(self):
        """A guest must never wait for, or lack, a block of its root."""
        rootpmem.write(self.path, self.filesystem, 4096, _UUID,
                       lambda _part: None)
        self.assertLess(4 * _MIB - 1, os.stat(self.path).st_blocks * 512)

    def test_another_uuid_is_told(self):
        written = rootpmem.write(self.path, self.filesystem, 4096, _UUID,
                                 lambda _part: None)
        self.assertRaises(exception.BaseDamaged, superblock.check, self.path,
                          'key', written.size_bytes, _UUID.replace('7', '8'))
