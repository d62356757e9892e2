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

from nova_flexmem.flatten import revise
from tests.unit.image import samples

FSTAB = '/etc/fstab'
MENU = '/boot/grub/grub.cfg'

MENU_OF_IMAGE = """\
menuentry 'Debian' {
    search --no-floppy --fs-uuid --set=root 1111-aaaa
    linux /boot/vmlinuz-6.1 root=UUID=1111-aaaa ro quiet
    initrd /boot/initrd.img-6.1
}
"""
TIMES = ['st_atime_sec: 1', 'st_atime_nsec: 2', 'st_mtime_sec: 3',
         'st_mtime_nsec: 4']


class Appliance(samples.Appliance):
    """Keeps what is uploaded."""

    def __init__(self):
        super().__init__({f'statns {path}': TIMES for path in (FSTAB, MENU)})
        self.uploaded = {}

    def command(self, *words):
        if words[0] == 'upload':
            with open(words[1], encoding='utf-8') as f:
                self.uploaded[words[2]] = f.read()
        return super().command(*words)


class ReviseTest(testtools.TestCase):

    def revised(self, before, after):
        """Return the files written, of trees before and after the merge."""
        self.appliance = Appliance()
        folder = self.useFixture(fixtures.TempDir()).path
        revise.revise(self.appliance, samples.Tree(after), folder,
                      revise.boot_files(samples.Tree(before)), 'dddd-4444')
        for path in self.appliance.uploaded:
            self.assertIn(f'utimens {path} 1 2 3 4', self.appliance.commands)
        self.assertEqual(set(), set(os.listdir(folder)) - {'revised'})
        return self.appliance.uploaded

    def test_nothing_of_flexmem_in_it(self):
        tree = {FSTAB: 'UUID=1 / ext4 defaults 0 1\n', MENU: MENU_OF_IMAGE}
        self.assertEqual({}, self.revised(tree, tree))

    def test_fstab_is_put_back(self):
        self.assertEqual(
            {FSTAB: 'UUID=1 / ext4 defaults 0 1\n'},
            self.revised({}, {
                FSTAB: '# flexmem: UUID=1 / ext4 defaults 0 1\n'}))

    def test_menu_that_the_guest_wrote(self):
        menu = MENU_OF_IMAGE.replace('1111-aaaa', 'dddd-4444').replace(
            '6.1', '6.1.9')
        self.assertEqual(
            {MENU: MENU_OF_IMAGE.replace('6.1', '6.1.9')},
            self.revised({MENU: MENU_OF_IMAGE}, {MENU: menu}))

    def test_menu_that_cannot_be_put_back(self):
        """Without a menu in the image nothing says which root was meant."""
        menu = MENU_OF_IMAGE.replace('1111-aaaa', 'dddd-4444')
        e = self.assertRaises(ValueError, self.revised, {}, {MENU: menu})
        self.assertIn(f'the guest wrote {MENU} anew', str(e))
