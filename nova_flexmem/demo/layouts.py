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

"""What the demo's Debian images look like: packages, partitions, files.

All of it is data. The images are like those that clouds are given: GPT with
a BIOS boot partition, an EFI system partition and the root filesystem last,
where it can grow.
"""

import dataclasses

from nova_flexmem.demo import shell

#: The unit by which the demo drives its guests (see nova_flexmem.demo.shell).
SHELL_UNIT = 'control-shell.service'

#: Identifiers that the images' fstab uses; any would do.
_ESP_PARTUUID = '5f8b4f0e-6d3c-4b5f-9a43-0d6a1c2b7e15'
_ROOT_PARTUUID = '0b9c56c1-52e2-4d0c-8f6b-7c3e8f1d2a01'
_BOOT_UUID = '3d1f7a52-94be-4c0a-b1d7-6e5a0c9f8b23'

_PACKAGES = (
    'btrfs-progs', 'busybox', 'ca-certificates', 'cloud-guest-utils',
    'cloud-init', 'dbus', 'e2fsprogs', 'fdisk', 'grub-pc', 'less',
    'libpam-systemd', 'lvm2', 'netplan.io', 'openssh-server', 'python3',
    'sudo', 'systemd-resolved', 'systemd-sysv', 'udev', 'vim-tiny', 'zstd')

#: Labels of the appliance's two drives: the new disk, and a system's tar.
DISK = 'disk'
SYSTEM = 'system'

#: The disk for programs; guestfish's own commands know it as /dev/sda.
DISK_DEVICE = f'/dev/disk/guestfs/{DISK}'

#: Commands that end the work inside any system.
COMPLETE = (
    ('ln-sf', '../run/systemd/resolve/stub-resolv.conf', '/etc/resolv.conf'),
    ('command', f'systemctl enable {SHELL_UNIT}'))

#: The same, and GRUB boots it.
FINISH = (
    *COMPLETE,
    ('command', f'grub-install --target=i386-pc {DISK_DEVICE}'),
    ('command', 'update-grub'))


@dataclasses.dataclass(frozen=True)
class System:
    """A Debian system, the same for all layouts that use it.

    :param packages: what is installed, with all it depends on
    :param point_release: install the last point release, without the
        updates and security fixes that came after it
    """

    suite: str
    packages: tuple[str, ...]
    point_release: bool


@dataclasses.dataclass(frozen=True)
class Layout:
    """A Debian system on a disk.

    :param disk: guestfish commands that make partitions and filesystems on
        /dev/sda and mount them, root first
    :param finish: commands that end the work on the mounted system
    :param compressed: whether the clusters of the qcow2 are
    """

    system: System
    disk: tuple[tuple[str, ...], ...]
    fstab: tuple[str, ...]
    finish: tuple[tuple[str, ...], ...] = FINISH
    compressed: bool = False


#: Its packages have a kernel and libraries to upgrade, as uploaded images do.
BOOKWORM = System('bookworm', (*_PACKAGES, 'linux-image-cloud-amd64'),
                  point_release=True)

_TRIXIE = System('trixie', (*_PACKAGES, 'linux-image-amd64', 'xfsprogs'),
                 point_release=False)

#: Arguments of sgdisk: a BIOS boot partition for GRUB, the EFI system
#: partition, and what is left for the root filesystem.
_BOOT_PARTITIONS = ('--new=1:2048:8191 --typecode=1:EF02'
                    ' --new=2:8192:139263 --typecode=2:EF00'
                    f' --partition-guid=2:{_ESP_PARTUUID}')
_ROOT_PARTITION = f'--new=3:139264:0 --partition-guid=3:{_ROOT_PARTUUID}'

_MAKE_ESP = ('mkfs', 'vfat', '/dev/sda2', 'label:EFI')
_MOUNT_ESP = (('mkdir-p', '/boot/efi'), ('mount', '/dev/sda2', '/boot/efi'))

_FSTAB_ESP = f'PARTUUID={_ESP_PARTUUID} /boot/efi vfat defaults 0 0'


def _partition(arguments):
    return ('debug', 'sh', f'sgdisk {_BOOT_PARTITIONS} {arguments}'
                           f' {DISK_DEVICE} && udevadm settle')


LAYOUTS = {
    'ext4': Layout(
        BOOKWORM,
        (_partition(_ROOT_PARTITION),
         _MAKE_ESP,
         ('mkfs', 'ext4', '/dev/sda3'),
         ('mount', '/dev/sda3', '/'),
         *_MOUNT_ESP),
        (f'PARTUUID={_ROOT_PARTUUID} / ext4 rw,discard,errors=remount-ro,'
         'x-systemd.growfs 0 1',
         _FSTAB_ESP)),
    # /boot on a partition, the rest in subvolumes on a logical volume
    'lvm-btrfs': Layout(
        BOOKWORM,
        (_partition('--new=3:139264:1187839'
                    ' --new=4:1187840:0 --typecode=4:8E00'),
         _MAKE_ESP,
         ('mke2fs', '/dev/sda3', 'fstype:ext4', f'uuid:{_BOOT_UUID}'),
         ('pvcreate', '/dev/sda4'),
         ('vgcreate', 'debian', '/dev/sda4'),
         ('lvcreate-free', 'root', 'debian', '100'),
         ('mkfs', 'btrfs', '/dev/debian/root', 'label:root'),
         ('mount', '/dev/debian/root', '/'),
         ('btrfs-subvolume-create', '/@rootfs'),
         ('btrfs-subvolume-create', '/@var'),
         ('umount', '/'),
         ('mount-options', 'subvol=@rootfs', '/dev/debian/root', '/'),
         ('mkdir', '/var'),
         ('mount-options', 'subvol=@var', '/dev/debian/root', '/var'),
         ('mkdir', '/boot'),
         ('mount', '/dev/sda3', '/boot'),
         *_MOUNT_ESP),
        ('/dev/mapper/debian-root / btrfs defaults,subvol=@rootfs 0 0',
         'LABEL=root /var btrfs nodev,nosuid,subvol=@var 0 0',
         f'UUID={_BOOT_UUID} /boot ext4 defaults 0 2',
         _FSTAB_ESP)),
    'xfs': Layout(
        _TRIXIE,
        (_partition(_ROOT_PARTITION),
         _MAKE_ESP,
         ('mkfs', 'xfs', '/dev/sda3', 'label:root'),
         ('mount', '/dev/sda3', '/'),
         *_MOUNT_ESP),
        ('LABEL=root / xfs defaults,x-systemd.growfs 0 0',
         _FSTAB_ESP),
        compressed=True)}


def files(layout, sources):
    """Return the files that complete a system: a dict of path and text.

    :param sources: the apt sources of its suite
    """
    return {
        '/etc/apt/sources.list': _text(sources),
        # cloud-init would name mirrors of its own.
        '/etc/cloud/cloud.cfg.d/01_debian_cloud.cfg': _text([
            'apt:', '  preserve_sources_list: true']),
        # cloud-init would take a locale that has to be made first.
        '/etc/default/locale': _text(['LANG=C.UTF-8']),
        '/etc/fstab': _text(layout.fstab),
        shell.AGENT_PATH: shell.AGENT,
        f'/etc/systemd/system/{SHELL_UNIT}': shell.UNIT,
        '/etc/hostname': _text(['debian']),
        '/etc/hosts': _text(['127.0.0.1 localhost', '127.0.1.1 debian']),
        '/etc/default/grub.d/10_cloud.cfg': _text([
            'GRUB_TIMEOUT=0',
            'GRUB_CMDLINE_LINUX_DEFAULT=""',
            'GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200"'])}


def _text(lines):
    return ''.join(f'{line}\n' for line in lines)
