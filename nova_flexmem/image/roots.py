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

"""The root filesystem of the one Linux in an image, or why there is none."""

import re
import shlex

from nova_flexmem import exception

_BTRFS_SUBVOLUME = 'btrfsvol:'

#: Prints what a filesystem holds that is no system as it is.
_LOOK_INTO = r"""
    for device in {devices}; do
        if ! mount -o ro "$device" /sysroot 2>/dev/null; then
            kind=$(blkid -o value -s TYPE "$device" || true)
            case $kind in
            ext4|xfs|btrfs) echo "unmountable: the $kind on $device" ;;
            esac
            continue
        fi
        if [ -d /sysroot/ostree/repo ]; then echo ostree; fi
        umount /sysroot
    done
    if head -c 4104 {disk} | tail -c 8 | grep -q '^EFI PART'; then
        echo sectors
    fi
    lvs --noheadings --options lv_layout 2>/dev/null | grep -o thin || true
"""
_PARTITION = re.compile(r'/dev/(?:[sv]d[a-z]|md)\d*(?:/|$)')
_DISK = '/dev/sda'


def find(appliance, image):
    """Return the root of the one system in an image, as libguestfs names it.

    :param image: the image's path, for messages
    :raises: ImageRefused if there is none, or more than one
    """
    roots = _without_snapshots(appliance.command('inspect-os'))
    if len(roots) == 1:
        return roots[0]
    raise exception.ImageRefused(
        image=image, reason=f'{len(roots)} operating systems in it; expected'
        ' one' if roots else _why_none(appliance))


def _without_snapshots(roots):
    """Return roots without snapshots of another root.

    Of btrfs, libguestfs names a filesystem for what is mounted by default,
    and the other subvolumes by their paths.
    """
    kept = [root for root in roots
            if not (root.startswith(_BTRFS_SUBVOLUME) and 'snapshot' in root)]
    devices = {device_of(root) for root in kept}
    return kept + [root for root in roots if root not in kept
                   and device_of(root) not in devices]


def device_of(root):
    """Return the device of a root: btrfsvol:/dev/sda2/@ is on /dev/sda2."""
    if not root.startswith(_BTRFS_SUBVOLUME):
        return root
    path = root.removeprefix(_BTRFS_SUBVOLUME)
    # a logical volume is /dev/GROUP/NAME
    parts = 3 if _PARTITION.match(path) else 4
    return '/'.join(path.split('/')[:parts])


def _why_none(appliance):
    volumes = appliance.command('lvs')
    partitions = appliance.command('list-partitions')
    printed = appliance.shell(_LOOK_INTO.format(
        disk=_DISK, devices=' '.join(map(
            shlex.quote, [*partitions, *volumes] or [_DISK]))))
    if 'ostree' in printed:
        return ('it is an OSTree system, whose root tree is put together at'
                ' each start; use an image of the distribution without OSTree')
    if 'sectors' in printed:
        return ('its partition table is for disks with sectors of 4096 bytes,'
                ' and disks of instances have 512; make the image for sectors'
                ' of 512 bytes')
    if 'thin' in printed:
        return ('no operating system found in it, and it has thin volumes of'
                ' LVM; use an image on partitions or ordinary volumes')
    for line in printed:
        if line.startswith('unmountable: '):
            return ("no operating system found in it, and the host's kernel"
                    f' cannot mount {line.removeprefix("unmountable: ")}; it'
                    ' is damaged, or needs a host with a newer kernel')
    # list-filesystems leaves them out
    for device in [*partitions, *volumes]:
        if appliance.command('vfs-type', device) == ['crypto_LUKS']:
            return (f'its partition {device} is encrypted (LUKS) and no'
                    ' operating system is outside it; use an unencrypted'
                    ' image')
    return 'no operating system found in it'
