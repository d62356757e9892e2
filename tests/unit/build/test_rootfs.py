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
import uuid

import fixtures
import testtools

from nova_flexmem.build import rootfs
from nova_flexmem import exception
from nova_flexmem import process

MIB = 1 << 20
#: Bytes that nothing else has.
_OTHER = uuid.UUID('9b6f1d2c-58e3-4a07-b1c4-7de20f93a865')
_NIL = '00000000-0000-0000-0000-000000000000'
_UUID = '01234567-89ab-4cde-8f01-23456789abcd'


class FilesystemTestCase(testtools.TestCase):
    """Has a tree, and makes filesystems of it as the drivers do."""

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(self.folder, 'rootfs')
        self.tree = os.path.join(self.folder, 'tree')
        os.mkdir(self.tree)
        with open(os.path.join(self.tree, 'file'), 'wb') as f:
            f.write(os.urandom(3 * MIB))

    def make(self, name):
        """Run what a driver has run in the appliance."""
        driver = rootfs.load(name)
        if not process.available(driver.program):
            self.skipTest(f'{driver.program} is not installed')
        with open(self.path, 'wb') as f:
            f.truncate(64 * MIB)
        driver.make(_Shell(self.tree), self.path,
                    rootfs.Content(blocks=1000, inodes=100))
        return driver

    def check(self, name):
        """Have the filesystem's own program check it."""
        words = {'erofs': ('fsck.erofs',), 'ext4': ('e2fsck', '-fn')}[name]
        if not process.available(words[0]):
            self.skipTest(f'{words[0]} is not installed')
        done = subprocess.run([*words, self.path], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True,
                              env=process.environment())
        self.assertEqual(0, done.returncode, done.stdout)


class SizeTest(FilesystemTestCase):
    """What the drivers read from a filesystem that a program made."""

    def test_erofs(self):
        size = self.make('erofs').size_bytes(self.path)
        self.assertEqual(0, size % 4096)
        self.assertTrue(3 * MIB < size < 4 * MIB, size)

    def test_ext4(self):
        size = self.make('ext4').size_bytes(self.path)
        self.assertEqual(0, size % 4096)
        self.assertTrue(4 * MIB < size < 9 * MIB, size)

    def test_behind_something_else(self):
        size = self.make('erofs').size_bytes(self.path)
        with open(self.path, 'rb') as f:
            content = f.read(size)
        with open(self.path, 'wb') as f:
            f.write(b'x' * 5000 + content)
        erofs = rootfs.load('erofs')
        self.assertEqual(size, erofs.size_bytes(self.path, 5000))
        self.assertRaises(exception.ProgramFailed, erofs.size_bytes,
                          self.path, 4999)
        os.truncate(self.path, 5000 + size - 1)
        self.assertRaises(exception.ProgramFailed, erofs.size_bytes,
                          self.path, 5000)

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


class UuidTest(FilesystemTestCase):
    """The uuid that a filesystem gets once its content is known."""

    def change(self, driver, uuid):
        """Give the filesystem another uuid."""
        with open(self.path, 'r+b') as f:
            f.seek(driver.superblock_offset)
            changed = driver.with_uuid(f.read(driver.superblock_bytes), uuid)
            self.assertEqual(driver.superblock_bytes, len(changed))
            f.seek(driver.superblock_offset)
            f.write(changed)

    def content(self):
        with open(self.path, 'rb') as f:
            return f.read()

    def uuid(self):
        return subprocess.run(
            ['blkid', '-o', 'value', '-s', 'UUID', '-p', self.path],
            stdout=subprocess.PIPE, text=True,
            env=process.environment()).stdout.strip()

    def test_checked_by_its_own_program(self):
        for name in ('erofs', 'ext4'):
            driver = self.make(name)
            self.change(driver, _UUID)
            self.assertEqual(_UUID, self.uuid())
            self.check(name)
            self.assertEqual(0, self.content().count(_OTHER.bytes))
            self.change(driver, str(_OTHER))
            # in one place: no second superblock has it
            self.assertEqual(1, self.content().count(_OTHER.bytes))
            self.check(name)

    def test_nothing_else_follows_from_it(self):
        for name in ('erofs', 'ext4'):
            driver = self.make(name)
            self.change(driver, _NIL)
            before = self.content()
            self.change(driver, _UUID)
            self.assertNotEqual(before, self.content())
            self.change(driver, _NIL)
            self.assertEqual(before, self.content())

    def test_same_tree_again(self):
        for name in ('erofs', 'ext4'):
            self.make(name)
            before = self.content()
            self.make(name)
            self.assertEqual(before, self.content())


class HoldsTest(testtools.TestCase):

    def test_what_mkfs_would_cut_or_fail_at(self):
        self.assertTrue(rootfs.load('erofs').holds(rootfs.Content(1, 1)))
        for odd in ('longest_names', 'btrfs_properties'):
            content = rootfs.Content(1, 1, **{odd: 1})
            self.assertFalse(rootfs.load('erofs').holds(content))
            self.assertTrue(rootfs.load('ext4').holds(content))


class _Shell:
    """Runs an appliance's scripts here, on a folder of this host."""

    def __init__(self, folder):
        self._folder = folder

    def shell(self, script):
        subprocess.run(['bash', '-eu', '-o', 'pipefail', '-c',
                        script.replace('/sysroot', self._folder)], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, env=process.environment())
