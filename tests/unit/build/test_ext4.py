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
import re
import subprocess

from nova_flexmem.build import rootfs
from nova_flexmem import process
from tests.unit.build import test_rootfs

_BLOCK_BYTES = 4096


class Ext4Test(test_rootfs.FilesystemTestCase):

    def facts(self):
        """Return what dumpe2fs says, {name: value}."""
        if not process.available('dumpe2fs'):
            self.skipTest('dumpe2fs is not installed')
        text = subprocess.run(['dumpe2fs', '-h', self.path], check=True,
                              capture_output=True, text=True,
                              env=process.environment()).stdout
        return dict(re.findall(r'^([^:\n]+):\s+(.*)$', text, re.MULTILINE))

    def test_features(self):
        """No journal, and nothing whose checksum would cover the uuid."""
        self.make('ext4')
        features = self.facts()['Filesystem features'].split()
        for feature in ('has_journal', 'metadata_csum', 'uninit_bg',
                        'metadata_csum_seed', 'orphan_file', 'resize_inode'):
            self.assertNotIn(feature, features)
        self.assertIn('extent', features)

    def test_time_and_seed_are_fixed(self):
        self.make('ext4')
        facts = self.facts()
        self.assertIn('2038', facts['Filesystem created'])
        self.assertEqual('d3a1b6c2-5f0e-4c8b-9a7d-2e6f81c04b53',
                         facts['Directory Hash Seed'])
        self.assertEqual('0', facts['Reserved block count'])

    def test_size_is_what_was_asked_for(self):
        self.make('ext4')
        ext4 = rootfs.load('ext4')
        content = rootfs.Content(blocks=1000, inodes=100)
        self.assertEqual(ext4.room_bytes(content), ext4.size_bytes(self.path))
        self.assertEqual(0, ext4.room_bytes(content) % _BLOCK_BYTES)

    def test_room_for_any_tree(self):
        """What mke2fs needs of blocks and inodes it finds."""
        ext4 = rootfs.load('ext4')
        for number in (1, 1000):
            folder = os.path.join(self.tree, f'folder{number}')
            os.mkdir(folder)
            for name in range(number):
                open(os.path.join(folder, f'{name}'), 'x').close()
        content = rootfs.Content(blocks=3 * 256 + 60, inodes=1010)
        with open(self.path, 'wb') as f:
            f.truncate(ext4.room_bytes(content))
        ext4.make(test_rootfs._Shell(self.tree), self.path, content)
        self.check('ext4')
        self.assertGreater(int(self.facts()['Inode count']), 1010)
