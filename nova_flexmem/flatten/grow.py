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

"""Grows an image's disk: the partition of the root filesystem, and that."""

import re

from nova_flexmem import exception

#: In what part-list says, of each partition.
_START = re.compile(r'part_num: (\d{1,9})\s+part_start: (\d{1,20})\b')

_PARTITION = re.compile(r'(/dev/sda)(\d+)')
_GROWING = ('ext2', 'ext3', 'ext4', 'xfs', 'btrfs')

#: 34 sectors for the backup of a partition table, aligned to 1 MiB.
_END_SECTOR = -2048


class Growth:
    """Lets the root filesystem have the whole of a disk that is larger now.

    :param appliance: one whose first disk it is
    :param root: libguestfs mountable of the root filesystem
    :param image: for messages
    :raises: ImageRefused if it is not the last on the disk, or none that can
        grow
    """

    def __init__(self, appliance, root, image):
        self._appliance = appliance
        self._image = image
        self._device = root.removeprefix('btrfsvol:')
        if root.startswith('btrfsvol:'):
            self._device = self._device[:self._device.index(
                '/', len('/dev/'))]
        self._kind = ' '.join(appliance.command('vfs-type', self._device))
        self._partition = _PARTITION.fullmatch(self._device)
        if self._kind not in _GROWING:
            raise self._refused(f'it is {self._kind or "unknown"}')
        if not self._partition and self._device != '/dev/sda':
            raise self._refused(f'it is on {self._device}, no partition')

    def grow_unmounted(self):
        """Grow the partition, and a filesystem that has to be unmounted."""
        if self._partition:
            self._grow_partition(self._partition[1], int(self._partition[2]))
        if self._kind.startswith('ext'):
            self._appliance.command('e2fsck', self._device, 'correct:true')
            self._appliance.command('resize2fs', self._device)

    def grow_mounted(self):
        """Grow a filesystem that has to be mounted, at /."""
        if self._kind == 'xfs':
            self._appliance.command('xfs-growfs', '/')
        elif self._kind == 'btrfs':
            self._appliance.command('btrfs-filesystem-resize', '/')

    def _grow_partition(self, disk, number):
        starts = {int(found): int(start) for found, start in _START.findall(
            '\n'.join(self._appliance.command('part-list', disk)))}
        if max(starts, key=starts.__getitem__, default=None) != number:
            raise self._refused('another partition is behind it')
        if self._appliance.command('part-get-parttype', disk) == ['gpt']:
            self._appliance.command('part-expand-gpt', disk)
        self._appliance.command('part-resize', disk, str(number),
                                str(_END_SECTOR))

    def _refused(self, why):
        return exception.ImageRefused(
            image=self._image, reason=f'its root filesystem cannot grow:'
            f' {why}; leave out --size, or grow it in the image')
