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

import testtools

from nova_flexmem import exception
from nova_flexmem.image import roots
from tests.unit.image import samples


class Looked(samples.Appliance):
    """An appliance in which scripts say something."""

    def __init__(self, answers, said=()):
        super().__init__(answers)
        self._said = [*said]

    def shell(self, script):
        self.commands.append(script)
        return self._said


class RootsTest(testtools.TestCase):

    def find(self, *found, said=(), **answers):
        appliance = Looked({'inspect-os': [*found]} | {
            words.replace('_', '-'): lines
            for words, lines in answers.items()}, said)
        return roots.find(appliance, '/image')

    def assert_refused(self, sentence, *found, **how):
        e = self.assertRaises(exception.ImageRefused, self.find, *found,
                              **how)
        self.assertEqual(f'/image: {sentence}', str(e))

    def test_one(self):
        for root in ('/dev/sda1', 'btrfsvol:/dev/sda2/@',
                     'btrfsvol:/dev/sda2/@/.snapshots/1/snapshot',
                     '/dev/debian/root', '/dev/md127'):
            self.assertEqual(root, self.find(root))

    def test_snapshots_of_the_one(self):
        """openSUSE mounts one of its snapshots by default."""
        for root, *snapshots in (
                ('/dev/sda2', 'btrfsvol:/dev/sda2/@/.snapshots/1/snapshot',
                 'btrfsvol:/dev/sda2/@/.snapshots/7/snapshot'),
                ('btrfsvol:/dev/sda4/root',
                 'btrfsvol:/dev/sda4/.snapshots/3/snapshot'),
                ('btrfsvol:/dev/vg/lv/@',
                 'btrfsvol:/dev/vg/lv/timeshift-btrfs/snapshots/x/@'),
                ('/dev/md127', 'btrfsvol:/dev/md127/snapshots/1')):
            self.assertEqual(root, self.find(root, *snapshots))
            self.assertEqual(root, self.find(*snapshots, root))

    def test_two_systems(self):
        for found in (('/dev/sda1', '/dev/sda2'),
                      ('btrfsvol:/dev/sda1/@', 'btrfsvol:/dev/sda1/@other'),
                      ('/dev/sda1', 'btrfsvol:/dev/sda2/.snapshots/1'),
                      ('/dev/sda1', 'btrfsvol:/dev/sda11/.snapshots/1'),
                      ('btrfsvol:/dev/vg/a/@', 'btrfsvol:/dev/vg/b/snapshot'),
                      ('btrfsvol:/dev/sda1/.snapshots/1',
                       'btrfsvol:/dev/sda1/.snapshots/2')):
            self.assert_refused('2 operating systems in it; expected one',
                                *found)

    def test_none(self):
        self.assert_refused('no operating system found in it')

    def test_encrypted(self):
        self.assert_refused(
            'its partition /dev/sda2 is encrypted (LUKS) and no operating'
            ' system is outside it; use an unencrypted image',
            list_partitions=['/dev/sda1', '/dev/sda2'],
            **{'vfs-type /dev/sda2': ['crypto_LUKS']})

    def test_filesystem_of_a_newer_kernel(self):
        self.assert_refused(
            "no operating system found in it, and the host's kernel cannot"
            ' mount the xfs on /dev/sda2; it is damaged, or needs a host with'
            ' a newer kernel', said=['unmountable: the xfs on /dev/sda2',
                                     'unmountable: the ext4 on /dev/sda3'])

    def test_ostree(self):
        self.assert_refused(
            'it is an OSTree system, whose root tree is put together at each'
            ' start; use an image of the distribution without OSTree',
            said=['ostree'])

    def test_large_sectors(self):
        self.assert_refused(
            'its partition table is for disks with sectors of 4096 bytes, and'
            ' disks of instances have 512; make the image for sectors of 512'
            ' bytes', said=['sectors'])

    def test_thin_volumes(self):
        self.assert_refused(
            'no operating system found in it, and it has thin volumes of LVM;'
            ' use an image on partitions or ordinary volumes', said=['thin'],
            lvs=['/dev/vg/root'])
