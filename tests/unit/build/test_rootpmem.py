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

import hashlib
import os
import subprocess

import fixtures
import testtools

from nova_flexmem.build import rootfs
from nova_flexmem.build import rootpmem
from nova_flexmem import exception
from nova_flexmem import process
from nova_flexmem.store import superblock

_MIB = 1 << 20


class RootPmemTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        if not process.available('mkfs.erofs'):
            self.skipTest('mkfs.erofs is not installed')
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(self.folder, 'root.pmem')
        self.erofs = rootfs.load('erofs')
        self.filesystem = self.make_filesystem(b'one')

    def make_filesystem(self, content):
        """Return the bytes of an EROFS with one file."""
        tree = os.path.join(self.folder, content.decode())
        os.mkdir(tree)
        with open(os.path.join(tree, 'file'), 'wb') as f:
            f.write(content + b'x' * 3 * _MIB)
            os.utime(f.fileno(), (0, 0))
        os.utime(tree, (0, 0))
        path = os.path.join(self.folder, 'filesystem')
        subprocess.run(
            ['mkfs.erofs', '--quiet', '-E', 'noinline_data', '-U',
             '00000000-0000-0000-0000-000000000000', path, tree], check=True,
            env=process.environment(SOURCE_DATE_EPOCH=str(rootfs.EPOCH)))
        with open(path, 'rb') as f:
            return f.read()

    def make(self, filesystem=None, left_behind=b'', progress=lambda _: None):
        """Do what a build does; the appliance's part is a write here."""
        if os.path.exists(self.path):
            os.unlink(self.path)
        rootpmem.create(self.path, 64 * _MIB)
        rootpmem.allocate(self.path, 5 * _MIB)
        with open(self.path, 'r+b') as f:
            f.write(left_behind)
            f.seek(superblock.DATA_OFFSET_BYTES)
            f.write((filesystem or self.filesystem) + left_behind)
        return rootpmem.finish(self.path, self.erofs, progress)

    def read(self):
        with open(self.path, 'rb') as f:
            return f.read()

    def test_layout(self):
        parts = []
        made = self.make(progress=parts.append)
        self.assertEqual(len(self.filesystem), made.filesystem_bytes)
        self.assertEqual(6 * _MIB, made.file.size_bytes)
        content = self.read()[superblock.DATA_OFFSET_BYTES:]
        # but for checksum and uuid it is what mkfs made
        self.assertEqual(self.filesystem[1024 + 64:],
                         content[1024 + 64:made.filesystem_bytes])
        self.assertEqual(b'', content[made.filesystem_bytes:].strip(b'\0'))
        superblock.check(self.path, 'key', made.file.size_bytes, made.uuid)
        self.assertEqual(sorted(parts), parts)
        self.assertEqual(1.0, parts[-1])

    def test_digest(self):
        made = self.make()
        self.assertEqual(type(made.file).of(self.path), made.file)

    def test_uuid_follows_from_the_content(self):
        made = self.make()
        begin = superblock.DATA_OFFSET_BYTES
        content = bytearray(self.read()[begin:begin + made.filesystem_bytes])
        content[1024:2048] = self.erofs.with_uuid(
            content[1024:2048], '00000000-0000-0000-0000-000000000000')
        self.assertEqual(made.uuid, rootpmem.layout_uuid(
            'erofs', hashlib.sha256(content).hexdigest()))
        self.assertEqual(made, self.make())
        other = self.make(self.make_filesystem(b'two'))
        self.assertNotEqual(made.uuid, other.uuid)
        self.assertNotEqual(made.file.sha256, other.file.sha256)

    def test_uuid_of_each_kind(self):
        """It must never change: deltas know bases by it."""
        self.assertEqual('02bed26a-eeb0-5489-87f2-d79009a99611',
                         rootpmem.layout_uuid('erofs', 'a' * 64))
        self.assertNotEqual(rootpmem.layout_uuid('erofs', 'a' * 64),
                            rootpmem.layout_uuid('ext4', 'a' * 64))

    def test_nothing_else_of_the_file_stays(self):
        """An appliance may write what it wants around its filesystem."""
        self.assertEqual(self.make(), self.make(left_behind=b'x' * 100))
        self.assertEqual(6 * _MIB, os.path.getsize(self.path))

    def test_holes_are_filled(self):
        """A guest must never wait for, or lack, a block of its root."""
        rootpmem.create(self.path, 64 * _MIB)
        with open(self.path, 'r+b') as f:
            f.seek(superblock.DATA_OFFSET_BYTES + 1024)
            f.write(self.filesystem[1024:4096])
            f.seek(superblock.DATA_OFFSET_BYTES + len(self.filesystem) - 1)
            f.write(b'x')
        self.assertLess(os.stat(self.path).st_blocks * 512, _MIB)
        rootpmem.finish(self.path, self.erofs, lambda _part: None)
        self.assertLess(6 * _MIB - 1, os.stat(self.path).st_blocks * 512)

    def test_filesystem_beyond_the_file(self):
        rootpmem.create(self.path, _MIB)
        with open(self.path, 'r+b') as f:
            f.seek(superblock.DATA_OFFSET_BYTES)
            f.write(self.filesystem[:_MIB])
        e = self.assertRaises(
            exception.ProgramFailed, rootpmem.finish, self.path, self.erofs,
            lambda _part: None)
        self.assertIn('made no filesystem', str(e))

    def test_another_uuid_is_told(self):
        made = self.make()
        self.assertRaises(
            exception.BaseDamaged, superblock.check, self.path, 'key',
            made.file.size_bytes, rootpmem.layout_uuid('erofs', ''))
