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
from nova_flexmem.flatten import grow
from tests.unit.image import samples


def _partitions(*starts):
    """Return what part-list says of partitions 1, 2, ..."""
    return [line for number, start in enumerate(starts)
            for line in (f'[{number}] = {{', f'  part_num: {number + 1}',
                         f'  part_start: {start}', '  part_end: 9', '}')]


class GrowthTest(testtools.TestCase):

    def grown(self, root, partitions, kind='ext4'):
        """Return the commands that change the disk."""
        device = root.removeprefix('btrfsvol:').removesuffix('/@')
        appliance = samples.Appliance({
            f'vfs-type {device}': [kind],
            'part-list /dev/sda': partitions,
            'part-get-parttype /dev/sda': ['gpt']})
        growth = grow.plan(appliance, root, '/image')
        growth.grow_unmounted()
        growth.grow_mounted()
        return appliance.commands[-3:]

    def assert_refused(self, said, *how, **more):
        e = self.assertRaises(exception.ImageRefused, self.grown, *how,
                              **more)
        self.assertIn(said, str(e))

    def test_last_partition(self):
        self.assertEqual(
            ['part-resize /dev/sda 2 -2048', 'e2fsck /dev/sda2 correct:true',
             'resize2fs /dev/sda2'],
            self.grown('/dev/sda2', _partitions(10, 20)))
        self.assertEqual(
            ['part-expand-gpt /dev/sda', 'part-resize /dev/sda 1 -2048',
             'btrfs-filesystem-resize /'],
            self.grown('btrfsvol:/dev/sda1/@', _partitions(20, 10), 'btrfs'))

    def test_another_partition_behind_it(self):
        self.assert_refused('behind it', '/dev/sda1', _partitions(10, 20))

    def test_answers_that_are_none(self):
        for said in ([], ['x'], ['  part_start: 1'], ['part_num: x'],
                     ['part_num: 1', f'part_start: {"9" * 5000}']):
            self.assert_refused('behind it', '/dev/sda1', said)

    def test_what_cannot_grow(self):
        self.assert_refused('it is swap', '/dev/sda1', [], 'swap')
        self.assert_refused('no partition', '/dev/vg/root', [])
        self.assert_refused('it is on /dev/vg/root, no partition',
                            'btrfsvol:/dev/vg/root/@', [], 'btrfs')
