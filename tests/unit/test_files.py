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

from nova_flexmem import files


class FilesTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(self.folder, 'file')

    def test_sync(self):
        synced = []
        fsync = os.fsync

        def counting(fd):
            synced.append(os.readlink(f'/proc/self/fd/{fd}'))
            fsync(fd)

        with open(self.path, 'wb') as f:
            f.write(b'content')
        open_before = os.listdir('/proc/self/fd')
        self.patch(os, 'fsync', counting)
        files.sync(self.path)
        files.sync(self.folder)
        self.assertEqual([self.path, self.folder], synced)
        self.assertEqual(open_before, os.listdir('/proc/self/fd'))

    def test_sync_of_what_is_not_there(self):
        self.assertRaises(FileNotFoundError, files.sync, self.path)

    def test_sync_that_fails_leaves_no_file_open(self):
        def fail(_fd):
            raise OSError(5, 'Input/output error')

        open_before = os.listdir('/proc/self/fd')
        self.patch(os, 'fsync', fail)
        self.assertRaises(OSError, files.sync, self.folder)
        self.assertEqual(open_before, os.listdir('/proc/self/fd'))

    def test_discard(self):
        tree = os.path.join(self.folder, 'tree')
        os.makedirs(os.path.join(tree, 'a/b'))
        open(os.path.join(tree, 'a/b/c'), 'x').close()
        os.symlink(self.folder, os.path.join(tree, 'link'))
        files.discard(tree)
        self.assertEqual([], os.listdir(self.folder))

    def test_discard_what_is_not_a_folder(self):
        """It is no error, and a file stays."""
        files.discard(self.path)
        open(self.path, 'x').close()
        files.discard(self.path)
        self.assertEqual(['file'], os.listdir(self.folder))
