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
import shutil
import stat
import subprocess

import fixtures
import testtools

from nova_flexmem.build import cpio

_MEMBERS = [('dev', stat.S_IFDIR | 0o755, b''),
            ('bin', stat.S_IFDIR | 0o755, b''),
            ('bin/busybox', stat.S_IFREG | 0o755, b'\x7fELF program'),
            ('bin/sh', stat.S_IFLNK | 0o777, b'busybox'),
            ('empty', stat.S_IFREG | 0o644, b''),
            ('odd', stat.S_IFREG | 0o600, b'12345')]


class CpioTest(testtools.TestCase):

    def test_unpacked_by_cpio_itself(self):
        if not shutil.which('cpio'):
            self.skipTest('cpio is not installed')
        folder = self.useFixture(fixtures.TempDir()).path
        subprocess.run(['cpio', '--extract', '--quiet', '--preserve'],
                       input=cpio.pack(_MEMBERS), cwd=folder, check=True)
        for name, mode, content in _MEMBERS:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            self.assertEqual(stat.filemode(mode), stat.filemode(
                status.st_mode), name)
            if stat.S_ISLNK(mode):
                self.assertEqual(content, os.readlink(path).encode())
            elif stat.S_ISREG(mode):
                with open(path, 'rb') as f:
                    self.assertEqual(content, f.read(), name)

    def test_unpacked_again(self):
        self.assertEqual({name: content for name, _mode, content in _MEMBERS},
                         cpio.unpack(cpio.pack(_MEMBERS)))
        self.assertEqual({}, cpio.unpack(cpio.pack([])))

    def test_same_members_same_bytes(self):
        self.assertEqual(cpio.pack(_MEMBERS), cpio.pack(_MEMBERS))

    def test_archive_is_aligned(self):
        """Linux looks for a further archive at a multiple of 4 bytes."""
        for size in range(9):
            archive = cpio.pack([('a' * (size + 1), stat.S_IFREG | 0o644,
                                  b'x' * size)])
            self.assertEqual(0, len(archive) % 4)

    def test_cut_short(self):
        archive = cpio.pack(_MEMBERS)
        trailer = archive.rindex(b'070701')
        for size in range(0, trailer, 7):
            self.assertRaises(ValueError, cpio.unpack, archive[:size])

    def test_something_else(self):
        for archive in (b'', b'070707' + b'0' * 104, b'\x1f\x8b gzip',
                        b'070701' + b'x' * 104):
            e = self.assertRaises(ValueError, cpio.unpack, archive)
            self.assertIn('at byte 0', str(e))
