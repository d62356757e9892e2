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

from nova_flexmem.image import identifiers
from tests.unit.image import samples


class IdentifiersTest(testtools.TestCase):

    def test_all_names(self):
        filesystems, others = identifiers.find(samples.Appliance(
            samples.devices({
                '/dev/sda1': ['PART_ENTRY_UUID=0b9b'],
                '/dev/sda2': [
                    'LABEL=EFI\\ \\$x', 'UUID=AB-CD', 'TYPE=vfat',
                    'USAGE=filesystem', 'PART_ENTRY_UUID=0b9c',
                    'PART_ENTRY_NAME=a=b',
                    'links disk/by-id/scsi-0QEMU_QEMU_HARDDISK_hd0-part2'
                    ' disk/by-path/pci-0000:00:02.0-scsi-0:0:0:0-part2'
                    ' disk/by-uuid/AB-CD disk/by-label/EFI\\x20$x'],
                '/dev/sda5': ['UUID=5', 'TYPE=swap', 'USAGE=other'],
                '/dev/sda6': ['UUID=6', 'TYPE=crypto_LUKS', 'USAGE=crypto']},
                {'/dev/vg/root': [
                    'UUID=1-2', 'LABEL=', 'TYPE=xfs', 'USAGE=filesystem',
                    'links disk/by-id/dm-uuid-LVM-x vg/root'
                    ' mapper/vg-root']})))
        self.assertEqual(
            {'/dev/sda2': '/dev/sda2', 'LABEL=EFI $x': '/dev/sda2',
             'UUID=ab-cd': '/dev/sda2', 'PARTUUID=0b9c': '/dev/sda2',
             'PARTLABEL=a=b': '/dev/sda2',
             '/dev/disk/by-uuid/AB-CD': '/dev/sda2',
             '/dev/disk/by-label/EFI\\x20$x': '/dev/sda2',
             '/dev/vg/root': '/dev/vg/root', 'UUID=1-2': '/dev/vg/root',
             '/dev/mapper/vg-root': '/dev/vg/root',
             '/dev/disk/by-id/dm-uuid-LVM-x': '/dev/vg/root'}, filesystems)
        self.assertEqual(
            {'/dev/sda1': '/dev/sda1', 'PARTUUID=0b9b': '/dev/sda1',
             '/dev/sda5': '/dev/sda5', 'UUID=5': '/dev/sda5',
             '/dev/sda6': '/dev/sda6', 'UUID=6': '/dev/sda6'}, others)

    def test_other_disks(self):
        answers = samples.devices({'/dev/sda1': 'ext4'})
        answers['list-partitions'] += ['/dev/sdb1', '/dev/sdab2']
        self.assertEqual({'/dev/sda1': '/dev/sda1'},
                         identifiers.find(samples.Appliance(answers))[0])

    def test_no_partitions(self):
        answers = samples.devices({'/dev/sda': 'ext4'})
        answers['list-partitions'] = []
        self.assertEqual({'/dev/sda': '/dev/sda'},
                         identifiers.find(samples.Appliance(answers))[0])
