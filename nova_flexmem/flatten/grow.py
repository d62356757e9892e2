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
from nova_flexmem.image import roots

#: In what part-list says, of each partition.
_START = re.compile(r'part_num: (\d{1,9})\s+part_start: (\d{1,20})\b')

_PARTITION = re.compile(r'(/dev/sda)(\d+)')
_GROWING = ('ext2', 'ext3', 'ext4', 'xfs', 'btrfs')

#: 34 sectors for the backup of a partition table, aligned to 1 MiB.
_END_SECTOR = -2048


def plan(appliance, root, image):
    """Return the Growth of a root filesystem.

    :param appliance: a running Appliance, whose first disk is the image's
    :param root: libguestfs mountable of the root filesystem
    :param image: for messages
    :raises: ImageRefused if it cannot grow
    """
    device = roots.device_of(root)
    kind = ' '.join(appliance.command('vfs-type', device))
    if kind not in _GROWING:
        raise _refused(image, f'it is {kind or "unknown"}')
    if not _PARTITION.fullmatch(device) and device != '/dev/sda':
        raise _refused(image, f'it is on {device}, no partition')
    return Growth(appliance, device, kind, image)


class Growth:
    """Lets the root filesystem have the whole of a disk that is larger now.

    :param device: of the root filesystem
    :param kind: of the filesystem
    """

    def __init__(self, appliance, device, kind, image):
        self._appliance = appliance
        self._device = device
        self._kind = kind
        self._image = image

    def grow_unmounted(self):
        """Grow the partition, and a filesystem that has to be unmounted.

        :raises: ImageRefused if another partition is behind it
        """
        partition = _PARTITION.fullmatch(self._device)
        if partition:
            self._grow_partition(partition[1], int(partition[2]))
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
        starts = {int(part): int(start) for part, start in _START.findall(
            '\n'.join(self._appliance.command('part-list', disk)))}
        if max(starts, key=starts.__getitem__, default=None) != number:
            raise _refused(self._image, 'another partition is behind it')
        if self._appliance.command('part-get-parttype', disk) == ['gpt']:
            self._appliance.command('part-expand-gpt', disk)
        self._appliance.command('part-resize', disk, str(number),
                                str(_END_SECTOR))


def _refused(image, why):
    return exception.ImageRefused(
        image=image, reason=f'its root filesystem cannot grow: {why}; leave'
        ' out --size, or grow it in the image')
