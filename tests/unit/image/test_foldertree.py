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

import lzma
import os
import pathlib

import fixtures
import testtools

from nova_flexmem import exception
from nova_flexmem.image import foldertree
from nova_flexmem.image import modules


class FolderTreeTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.tree = foldertree.FolderTree(str(self.folder))

    def test_files(self):
        (self.folder / 'boot').mkdir()
        path = self.folder / 'boot/vmlinuz-1'
        path.write_bytes(b'\xffkernel')
        self.assertEqual(['vmlinuz-1'], self.tree.names('/boot'))
        self.assertEqual(b'\xffkern', self.tree.read('/boot/vmlinuz-1', 5))
        self.assertEqual('\ufffdkernel',
                         self.tree.read_text('/boot/vmlinuz-1'))
        self.patch(os, 'access', lambda *_args: False)
        self.assertFalse(self.tree.is_file('/boot/vmlinuz-1'))
        self.assertIsNone(self.tree.read('/boot/vmlinuz-1', 5))

    def test_modules_of_the_host(self):
        """They may be compressed, and the trial guest needs them."""
        folder = self.folder / 'lib'
        folder.mkdir()
        content = b'\x7fELF' + bytes(100)
        (folder / 'plain.ko').write_bytes(content)
        (folder / 'small.ko.xz').write_bytes(lzma.compress(content))
        (folder / 'none.ko.xz').write_bytes(b'none')
        loaded = modules.load(self.tree, '/lib', ['plain.ko', 'small.ko.xz'],
                              'host')
        self.assertEqual((('plain', content), ('small', content)), loaded)
        self.assertEqual((('plain', content),), modules.load(
            self.tree, '/lib', ['plain.ko'], 'host'))
        for path in ('none.ko.xz', 'missing.ko.xz'):
            self.assertRaises(exception.ImageRefused, modules.load, self.tree,
                              '/lib', [path], 'host')
        self.assertEqual({}, self.tree.decompressed(
            ['/lib/small.ko.xz'], 1 << 20, 10))

    def test_nothing_there(self):
        self.assertEqual([], self.tree.names('/lib/modules'))
        self.assertIsNone(self.tree.read('/boot/vmlinuz-1', 5))
        self.assertEqual('', self.tree.read_text('/boot/config-1'))
