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

"""Guests of images in the shapes of distributions: Debian's programs in each.

Partitions, filesystems, subvolumes, fstab, boot loader, and how kernel and
modules are kept are as a distribution's images have them.
"""

import dataclasses

from nova_flexmem.demo import debian
from nova_flexmem.demo import layouts
from nova_flexmem.demo import shell
from tests.functional import harness

_MACHINE = '8d3f0c5b7c1e4a6f9d2b3a4c5d6e7f80'
_CONSOLE = 'console=tty0 console=ttyS0,115200'

#: As a guest may write, and find it again after a reboot.
_WRITE = 'echo written > /root/written; echo changed >> /etc/issue; sync'
_READ = 'grep written /root/written && grep changed /etc/issue'


def _sh(*commands):
    """Return the guestfish command that runs commands in the appliance."""
    return ('debug', 'sh', ' && '.join(commands))


def _in_system(*commands):
    """Return the guestfish command that runs commands in the new system."""
    return ('sh', ' && '.join(commands))


def _partitions(*sizes):
    """Return the command that makes partitions; the last takes the rest."""
    words = ' '.join(f'--new={number}:0:{size}'
                     for number, size in enumerate((*sizes, '0'), 1))
    return _sh(f'sgdisk {words} {layouts.DISK_DEVICE}', 'udevadm settle')


def _mounts(*pairs):
    """Return the commands that mount (options, device, point) in turn."""
    commands = []
    for options, device, point in pairs:
        if point != '/':
            commands.append(('mkdir-p', point))
        commands.append(('mount-options', options, device, point))
    return tuple(commands)


def _os_release(distro, version):
    return _in_system('rm -f /etc/os-release', 'printf "ID=%s\\nVERSION_ID=%s'
                      '\\nPRETTY_NAME=Test\\n"'
                      f' {distro} {version} > /etc/os-release')


def _entry(root):
    """Return the command that writes the one BLS entry, saved in grubenv."""
    return _in_system(
        'rm -rf /boot/grub', 'mkdir -p /boot/loader/entries /boot/grub2',
        'release=$(ls /lib/modules)', f'id={_MACHINE}-$release',
        'printf "title Test\\nversion %s\\nlinux /vmlinuz-%s\\noptions %s\\n"'
        f' $release $release "root={root} ro crashkernel=1G {_CONSOLE}"'
        ' > /boot/loader/entries/$id.conf',
        'printf "set default=\\"\\${saved_entry}\\"\\nblscfg\\n"'
        ' > /boot/grub2/grub.cfg',
        'printf "# GRUB Environment Block\\nsaved_entry=%s\\n" $id'
        ' > /boot/grub2/grubenv')


def _menu(folder, kernel):
    """Return the command that writes a menu of GRUB with one kernel."""
    return _in_system(
        'rm -rf /boot/grub', f'mkdir -p {folder}',
        'release=$(ls /lib/modules)',
        'printf "menuentry Test {\\n  linux %s root=LABEL=root rw %s\\n}\\n"'
        f' {kernel} "{_CONSOLE}" > {folder}/grub.cfg')


_COMPRESS_MODULES = _in_system(
    'find /lib/modules -name *.ko -exec zstd -q --rm {} +',
    'depmod $(ls /lib/modules)')


class ShapeTestCase(harness.GuestTestCase):
    """A guest of an image that is made by the class's commands.

    :cvar disk: guestfish commands that make the filesystems and mount them
    :cvar fstab: its lines
    :cvar finish: guestfish commands that complete the system
    """

    disk: tuple
    fstab: tuple
    finish: tuple
    system = layouts.BOOKWORM
    complete = layouts.COMPLETE

    @classmethod
    def make_image(cls):
        return debian.make(
            cls.__name__.removesuffix('Test').lower(), layouts.Layout(
                cls.system, cls.disk, cls.fstab, (*cls.complete, *cls.finish)),
            harness.CACHE)


class LifeTest:
    """What holds for all shapes."""

    def test_life(self):
        self.assertIn('console=ttyS0', self.base.manifest.kernel_args)
        guest = self.start(self.launcher.flexmem('guest', self.boot))
        self.check_up(guest)
        self.check_more(guest)
        guest.output(_WRITE)
        guest.reboot()
        self.check_up(guest)
        guest.output(_READ)
        self.assert_base_unchanged()

    def check_up(self, guest):
        """Check that all of the guest's services have started."""
        state = guest.system_state()
        self.assertEqual(('running', []), (state.state, state.failed_units))
        guest.output('grep -q "^/dev/pmem0 /run/flexmem/lower .*dax=always"'
                     ' /proc/mounts')

    def check_more(self, guest):
        """Check what is this shape's own."""


class RhelTest(LifeTest, ShapeTestCase):
    """XFS root and /boot, a BLS entry that is saved as the default."""

    disk = (_partitions('+512M'),
            _sh('mkfs.xfs -q -L boot /dev/sda1',
                'mkfs.xfs -q -L root /dev/sda2'),
            *_mounts(('', '/dev/sda2', '/'), ('', '/dev/sda1', '/boot')))
    fstab = ('LABEL=root / xfs defaults 0 0',
             'LABEL=boot /boot xfs defaults 0 0')
    finish = (_os_release('rhel', '9.7'), _entry('LABEL=root'), _in_system(
        'echo Red Hat Enterprise Linux release 9.7 > /etc/redhat-release'))

    def check_more(self, guest):
        guest.output('ls /boot/loader/entries/*.conf')


class FedoraTest(LifeTest, ShapeTestCase):
    """Root and home in subvolumes of btrfs, /boot on ext4, a BLS entry."""

    disk = (_partitions('+512M'),
            _sh('mkfs.ext4 -q -L boot /dev/sda1',
                'mkfs.btrfs -q -L fedora /dev/sda2'),
            ('mount', '/dev/sda2', '/'),
            ('btrfs-subvolume-create', '/root'),
            ('btrfs-subvolume-create', '/home'),
            ('umount', '/'),
            *_mounts(('subvol=root,compress=zstd:1', '/dev/sda2', '/'),
                     ('subvol=home,compress=zstd:1', '/dev/sda2', '/home'),
                     ('', '/dev/sda1', '/boot')))
    fstab = ('LABEL=fedora / btrfs subvol=root,compress=zstd:1 0 0',
             'LABEL=fedora /home btrfs subvol=home,compress=zstd:1 0 0',
             'LABEL=boot /boot ext4 defaults 1 2')
    finish = (_os_release('fedora', '43'), _entry('LABEL=fedora'), _in_system(
        'echo Fedora release 43 > /etc/redhat-release',
        'cp /etc/redhat-release /etc/fedora-release',
        'install -d -o 1000 -g 1000 -m 700 /home/fedora'))

    def check_more(self, guest):
        self.assertEqual('1000 1000 700\n', guest.output(
            'stat -c "%u %g %a" /home/fedora'))


class OpensuseTest(LifeTest, ShapeTestCase):
    """A snapshot is the root, and the top of the snapshots is mounted."""

    disk = (_partitions(), _sh('mkfs.btrfs -q -L root /dev/sda1'),
            ('mount', '/dev/sda1', '/'),
            *(('btrfs-subvolume-create', f'/@{name}') for name in (
                '', '/home', '/opt', '/var', '/.snapshots')),
            ('mkdir', '/@/.snapshots/1'),
            ('btrfs-subvolume-create', '/@/.snapshots/1/snapshot'),
            _sh('btrfs subvolume set-default'
                ' /sysroot/@/.snapshots/1/snapshot'),
            ('umount', '/'),
            *_mounts(('', '/dev/sda1', '/'),
                     *((f'subvol=@/{name}', '/dev/sda1', f'/{name}')
                       for name in ('home', 'opt', 'var'))))
    fstab = ('LABEL=root / btrfs defaults 0 0',
             *(f'LABEL=root /{name} btrfs subvol=/@/{name} 0 0'
               for name in ('home', 'opt', 'var', '.snapshots')))
    finish = (_os_release('opensuse-leap', '16.0'), ('mkdir', '/.snapshots'),
              _menu('/boot/grub2', '/boot/vmlinuz-$release'))

    def check_more(self, guest):
        # not a second time as a file of the snapshot
        guest.output('test ! -e /.snapshots/1/snapshot/etc')


class ArchTest(LifeTest, ShapeTestCase):
    """The top of btrfs, a kernel without release in its name, .ko.zst."""

    disk = (_partitions(), _sh('mkfs.btrfs -q -L root /dev/sda1'),
            *_mounts(('', '/dev/sda1', '/')))
    fstab = ('LABEL=root / btrfs defaults 0 0',)
    finish = (_os_release('arch', 'rolling'), _COMPRESS_MODULES,
              _menu('/boot/grub', '/boot/vmlinuz-linux'), _in_system(
                  'mv /boot/vmlinuz-$(ls /lib/modules) /boot/vmlinuz-linux',
                  'touch /etc/arch-release'))

    def check_more(self, guest):
        guest.output('ls /lib/modules/*/kernel/fs/xfs/xfs.ko.zst'
                     ' && modprobe xfs')


class UbuntuTest(LifeTest, ShapeTestCase):
    """/boot and /boot/efi by their labels, .ko.zst."""

    disk = (_partitions('+106M', '+512M'),
            _sh('mkfs.vfat -n UEFI /dev/sda1',
                'mkfs.ext4 -q -L BOOT /dev/sda2',
                'mkfs.ext4 -q -L cloudimg-rootfs /dev/sda3'),
            *_mounts(('', '/dev/sda3', '/'), ('', '/dev/sda2', '/boot'),
                     ('', '/dev/sda1', '/boot/efi')))
    fstab = ('LABEL=cloudimg-rootfs / ext4 discard,commit=30,errors=remount-ro'
             ' 0 1',
             'LABEL=BOOT /boot ext4 defaults 0 2',
             'LABEL=UEFI /boot/efi vfat umask=0077 0 1')
    finish = (_os_release('ubuntu', '24.04'), _COMPRESS_MODULES,
              _menu('/boot/grub', '/vmlinuz-$release'), _in_system(
                  'cd /boot', 'ln -s vmlinuz-$(ls /lib/modules) vmlinuz'))

    def check_more(self, guest):
        guest.output('ls /boot/vmlinuz-* && test -d /boot/efi')


class HardenedTest(LifeTest, ShapeTestCase):
    """Filesystems of their own on logical volumes, little allowed on them."""

    #: Where each volume is mounted, and what is not allowed there.
    _VOLUMES = {'tmp': ('/tmp', 'nodev,nosuid,noexec'),
                'var': ('/var', 'nodev,nosuid'),
                'log': ('/var/log', 'nodev,nosuid,noexec'),
                'home': ('/home', 'nodev')}

    disk = (_partitions(),
            _sh('pvcreate -q /dev/sda1', 'vgcreate -q system /dev/sda1',
                *(f'lvcreate -q -y -L {mib}M -n {name} system'
                  f' && mkfs.ext4 -q /dev/system/{name}' for name, mib in (
                      ('root', 2048), ('tmp', 64), ('var', 512), ('log', 64),
                      ('home', 64)))),
            *_mounts(('', '/dev/system/root', '/'),
                     *(('', f'/dev/system/{name}', point)
                       for name, (point, _options) in _VOLUMES.items())))
    fstab = ('/dev/mapper/system-root / ext4 errors=remount-ro 0 1',
             *(f'/dev/mapper/system-{name} {point} ext4 {options} 0 2'
               for name, (point, options) in _VOLUMES.items()))
    finish = (_menu('/boot/grub', '/boot/vmlinuz-$release'),
              _in_system('chmod 1777 /tmp'))

    def check_more(self, guest):
        for point, options in self._VOLUMES.values():
            self.assertEqual(
                {*options.split(',')},
                {'nodev', 'nosuid', 'noexec'} & {*guest.output(
                    f'findmnt -no OPTIONS {point}').strip().split(',')},
                point)
        code, _said = guest.run('cp /bin/true /tmp && /tmp/true')
        self.assertNotEqual(0, code)


class WholeDiskTest(LifeTest, ShapeTestCase):
    """No partition table, and no boot loader's menu."""

    disk = (_sh('mkfs.ext4 -q -L root /dev/sda'),
            *_mounts(('', '/dev/sda', '/')))
    fstab = ('/dev/vda / ext4 errors=remount-ro 0 1',)
    finish = (_in_system(
        'rm -rf /boot/grub',
        f'echo GRUB_CMDLINE_LINUX=\\"{_CONSOLE}\\" > /etc/default/grub'),)


class ThinTest(LifeTest, ShapeTestCase):
    """The root filesystem on a thin volume."""

    disk = (_partitions(),
            _sh('pvcreate -q /dev/sda1', 'vgcreate -q thin /dev/sda1',
                'lvcreate -q -y -L 3000M -T thin/pool',
                'lvcreate -q -y -V 2900M -T thin/pool -n root',
                'mkfs.ext4 -q /dev/thin/root'),
            *_mounts(('', '/dev/thin/root', '/')))
    fstab = ('/dev/thin/root / ext4 defaults 0 1',)
    finish = (_menu('/boot/grub', '/boot/vmlinuz-$release'),)


class MirrorTest(LifeTest, ShapeTestCase):
    """One disk of a mirror by mdadm."""

    disk = (_partitions(),
            _sh('mdadm --create /dev/md/root --run --metadata=1.2 --level=1'
                ' --raid-devices=2 --homehost=any /dev/sda1 missing',
                'mkfs.ext4 -q -L root /dev/md/root'),
            *_mounts(('', '/dev/md/root', '/')))
    fstab = ('LABEL=root / ext4 defaults 0 1',)
    finish = (_menu('/boot/grub', '/boot/vmlinuz-$release'),)


class OpenRCTest(LifeTest, ShapeTestCase):
    """OpenRC in the place of systemd, a kernel named as Alpine's."""

    system = dataclasses.replace(layouts.BOOKWORM, packages=(
        'busybox', 'linux-image-cloud-amd64', 'openrc', 'sysvinit-core',
        'udev'))
    complete = (_in_system(
        f'echo cs:2345:respawn:/bin/sh {shell.AGENT_PATH} >> /etc/inittab'),)
    disk = (_partitions('+256M'),
            _sh('mkfs.ext4 -q -L boot /dev/sda1',
                'mkfs.ext4 -q -L root /dev/sda2'),
            *_mounts(('', '/dev/sda2', '/'), ('', '/dev/sda1', '/boot')))
    fstab = ('LABEL=root / ext4 defaults 0 1',
             'LABEL=boot /boot ext4 defaults 0 2')
    finish = (_menu('/boot/grub', '/vmlinuz-virt'), _in_system(
        'mv /boot/vmlinuz-$(ls /lib/modules) /boot/vmlinuz-virt'))

    def check_up(self, guest):
        guest.output('until rc-status --runlevel | grep -q default;'
                     ' do sleep 1; done')
        self.assertEqual('', guest.output('rc-status --crashed --nocolor'))
        guest.output('test ! -e /run/systemd/system && grep -q'
                     ' "^/dev/pmem0 /run/flexmem/lower .*dax=always"'
                     ' /proc/mounts')
