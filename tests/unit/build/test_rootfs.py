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
import subprocess

import fixtures
import testtools

from nova_flexmem.build import rootfs
from nova_flexmem import exception
from nova_flexmem import process

MIB = 1 << 20
_UUID = '00000000-0000-0000-0000-000000000007'


class SizeTest(testtools.TestCase):
    """What the drivers read from a filesystem that a program made."""

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(self.folder, 'rootfs')
        self.tree = os.path.join(self.folder, 'tree')
        os.mkdir(self.tree)
        with open(os.path.join(self.tree, 'file'), 'wb') as f:
            f.write(os.urandom(3 * MIB))

    def make(self, *words):
        if not process.available(words[0]):
            self.skipTest(f'{words[0]} is not installed')
        with open(self.path, 'wb') as f:
            f.truncate(64 * MIB)
        subprocess.run(words, check=True, timeout=60, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       env={'PATH': '/usr/sbin:/usr/bin:/sbin:/bin'})

    def test_erofs(self):
        self.make('mkfs.erofs', '-E', 'noinline_data', '-U', _UUID,
                  self.path, self.tree)
        size = rootfs.load('erofs').size_bytes(self.path)
        self.assertEqual(0, size % 4096)
        self.assertTrue(3 * MIB < size < 4 * MIB, size)

    def test_ext4(self):
        self.make('mke2fs', '-q', '-F', '-t', 'ext4', '-b', '4096',
                  self.path, '4096')
        self.assertEqual(16 * MIB, rootfs.load('ext4').size_bytes(self.path))

    def test_no_filesystem(self):
        for name in ('erofs', 'ext4'):
            with open(self.path, 'wb') as f:
                f.truncate(MIB)
            e = self.assertRaises(exception.ProgramFailed,
                                  rootfs.load(name).size_bytes, self.path)
            self.assertIn('made no filesystem', str(e))

    def test_filesystem_that_is_not_all_there(self):
        """Copying it would wait for its end for ever, or fill the disk."""
        erofs = struct.pack('<IIIBBHQQII', 0xe0f5e1e2, 0, 0, 12, 0, 0, 0, 0,
                            0, 0xffffffff)
        ext4 = struct.pack('<II48xH', 0, 0xffffffff, 0xef53)
        for name, superblock in (('erofs', erofs), ('ext4', ext4)):
            for content in (superblock.ljust(MIB, b'\0'), superblock, b''):
                with open(self.path, 'wb') as f:
                    f.write(bytes(1024) + content)
                e = self.assertRaises(exception.ProgramFailed,
                                      rootfs.load(name).size_bytes, self.path)
                self.assertIn('made no filesystem', str(e))

    def test_erofs_of_other_blocks(self):
        """A guest's pages are 4 KiB; others could not be mapped."""
        with open(self.path, 'wb') as f:
            f.write(bytes(1024) + struct.pack('<IIIB', 0xe0f5e1e2, 0, 0, 9)
                    + bytes(4096))
        self.assertRaises(exception.ProgramFailed,
                          rootfs.load('erofs').size_bytes, self.path)


class MeasureTest(testtools.TestCase):

    def test_tree(self):
        for program in ('gawk', 'find', 'bash'):
            if not process.available(program):
                self.skipTest(f'{program} is not installed')
        folder = self.useFixture(fixtures.TempDir()).path
        tree = os.path.join(folder, 'tree')
        os.mkdir(tree)
        for name, size in (('a', 1), ('empty', 0), ('n' * 254, 4097),
                           ('\udcff' * 255, 4096), ('n\n' + 'x' * 253, 0)):
            with open(os.path.join(tree, name), 'wb') as f:
                f.write(bytes(size))
        os.link(os.path.join(tree, 'a'), os.path.join(tree, 'b'))
        os.mkdir(os.path.join(tree, 'folder'))
        self.assertEqual(
            rootfs.Content(blocks=6, inodes=7, longest_names=2,
                           btrfs_properties=0),
            rootfs.measure(_Shell(folder, '/sysroot', tree)))

    def test_answers_that_are_none(self):
        for said in ('', '1 2', '1 2 0', '1 2 x 0', '1e3 2 0 0', '1 -2 0 0',
                     '1 2 3 4 5', f'{"9" * 5000} 1 0 0'):
            e = self.assertRaises(exception.ProgramFailed, rootfs.measure,
                                  _Answer(said))
            self.assertIn('no size', str(e))

    def test_what_mkfs_would_cut_or_fail_at(self):
        self.assertTrue(rootfs.load('erofs').holds(rootfs.Content(1, 1)))
        for odd in ('longest_names', 'btrfs_properties'):
            content = rootfs.Content(1, 1, **{odd: 1})
            self.assertFalse(rootfs.load('erofs').holds(content))
            self.assertTrue(rootfs.load('ext4').holds(content))


class _Answer:

    def __init__(self, said):
        self._said = said

    def shell(self, _script):
        return self._said.splitlines()


class _Shell:
    """Runs scripts here, on another folder."""

    def __init__(self, folder, old, new):
        self._folder, self._old, self._new = folder, old, new

    def shell(self, script):
        done = subprocess.run(
            ['bash', '-eu', '-o', 'pipefail', '-c',
             script.replace(self._old, self._new)], check=True,
            cwd=self._folder, stdout=subprocess.PIPE, text=True)
        return done.stdout.splitlines()
