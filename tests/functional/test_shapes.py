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

"""Images in the shape of vendors' images: built, or refused by a sentence.

The images hold as much of a system as a build looks at, and are not booted.
They are made in one appliance session, because an appliance takes seconds to
start.
"""

import os
import string
import struct

from nova_flexmem.build import builder
from nova_flexmem import exception
from nova_flexmem.image import appliance
from tests.functional import harness
from tests.functional import small_image

_DISK_BYTES = 768 << 20
_MACHINE = '8d3f0c5b7c1e4a6f9d2b3a4c5d6e7f80'
_EL = ('5.14.0-611.el9.x86_64', '5.14.0-611.5.1.el9_7.x86_64')
_UBUNTU = '6.8.0-51-generic'
_DEVICE_MODULES = ('libnvdimm', 'nfit', 'nd_pmem')


def _kernel(release, without=(), path=None, named=False):
    """Return the files of a kernel, {path: content}.

    :param without: modules that it does not have
    :param path: of the kernel; default: in /boot by its release
    :param named: whether the kernel itself says its release
    """
    content = bytearray(small_image.bzimage())
    if named:
        struct.pack_into('<H', content, 0x20e, 0x400)
        text = f'{release} (build@host) #1 SMP\0'.encode()
        content[0x600:0x600 + len(text)] = text
    folder = f'/lib/modules/{release}'
    return {path or f'/boot/vmlinuz-{release}': bytes(content),
            f'{folder}/modules.dep': b'',
            f'{folder}/modules.builtin': ''.join(
                f'kernel/x/{name}.ko\n' for name in small_image.BUILTIN
                if name not in without).encode()}


def _system(distro, version, fstab, *more):
    """Return the files of a system without a kernel."""
    files = {'/etc/os-release': f'ID={distro}\nVERSION_ID="{version}"\n'
                                'PRETTY_NAME="Test"\n'.encode(),
             '/etc/hostname': b'test\n', '/etc/fstab': fstab.encode(),
             '/usr/bin/sh': small_image.elf(small_image.X86_64),
             '/bin/sh': small_image.elf(small_image.X86_64),
             '/home/x': b'', '/var/x': b'', '/sbin/x': b''}
    for other in more:
        files |= other
    return files


def _entry(release, options):
    return {f'/boot/loader/entries/{_MACHINE}-{release}.conf':
            f'title Red Hat {release}\nversion {release}\n'
            f'linux /vmlinuz-{release}\noptions {options}\n'.encode()}


_RHEL = _system(
    'rhel', '9.7', 'LABEL=root / xfs defaults 0 0\n'
    'LABEL=boot /boot xfs defaults 0 0\n', *map(_kernel, _EL), *(
        _entry(release, f'root=LABEL=root ro crashkernel=1G x={number}')
        for number, release in enumerate(_EL)), {
        '/etc/redhat-release': b'Red Hat Enterprise Linux release 9.7\n',
        '/boot/grub2/grub.cfg': b'set default="${saved_entry}"\nblscfg\n',
        '/boot/grub2/grubenv': b'# GRUB Environment Block\n'
            b'saved_entry=%s-%s\n' % (_MACHINE.encode(), _EL[0].encode())})

_DEBIAN = {'/etc/debian_version': b'12.0\n'}


class ShapesTest(harness.StoreTestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        names = [name.removeprefix('make_') for name in sorted(dir(cls))
                 if name.startswith('make_')]
        for name in names:
            with open(cls._image(name), 'xb') as f:
                f.truncate(_DISK_BYTES)
        drives = [appliance.Drive(cls._image(name), 'raw', False,
                                  f'shape{letter}')
                  for name, letter in zip(names, string.ascii_lowercase)]
        with appliance.Appliance(
                cls.store.folder('appliance'), drives, timeout_s=1800,
                file_size_bytes=_DISK_BYTES) as a:
            for name, drive, letter in zip(names, drives,
                                           string.ascii_lowercase):
                getattr(cls, f'make_{name}')(a, f'/dev/sd{letter}')
                a.command('umount-all')

    @classmethod
    def _image(cls, name):
        return os.path.join(cls.folder, f'{name}.raw')

    @classmethod
    def _put(cls, a, *mounts_and_files):
        """Mount (device, point, options) in turn, then write files."""
        *mounts, files = mounts_and_files
        for device, point, options in mounts:
            if point != '/':
                a.command('mkdir-p', point)
            a.command('mount-options', options, device, point)
        archive = os.path.join(cls.folder, 'files.tar')
        small_image.write_tar(archive, files)
        a.command('tar-in', archive, '/')

    @staticmethod
    def _partitions(a, disk, *ends):
        a.command('part-init', disk, 'gpt')
        start = 2048
        for end in ends:
            a.command('part-add', disk, 'p', str(start), str(end))
            start = end + 1

    def build(self, name):
        base, _new = builder.build(self.store, self._image(name))
        self.addCleanup(self.store.remove, base.key)
        return base.manifest

    def assert_refused(self, name, sentence):
        e = self.assertRaises(exception.ImageRefused, builder.build,
                              self.store, self._image(name))
        self.assertEqual(f'{self._image(name)}: {sentence}', str(e))

    @classmethod
    def make_rhel(cls, a, disk):
        """XFS root and /boot, BLS, a saved entry of the older kernel."""
        cls._partitions(a, disk, 700000, -2048)
        a.shell(f'mkfs.xfs -q -L boot {disk}1; mkfs.xfs -q -L root {disk}2')
        cls._put(a, (f'{disk}2', '/', ''), (f'{disk}1', '/boot', ''), _RHEL)

    def test_rhel(self):
        manifest = self.build('rhel')
        self.assertEqual((_EL[0], 'x=0'), (manifest.kernel_release,
                                           manifest.kernel_args))
        self.assertEqual([_EL[1]], manifest.kernel_others)

    @classmethod
    def make_ubuntu(cls, a, disk):
        """No nd_pmem, /boot by LABEL=BOOT."""
        cls._partitions(a, disk, 300000, -2048)
        a.shell(f'mkfs.ext4 -q -L BOOT {disk}1;'
                f' mkfs.ext4 -q -L cloudimg-rootfs {disk}2')
        cls._put(a, (f'{disk}2', '/', ''), (f'{disk}1', '/boot', ''), _system(
            'ubuntu', '24.04', 'LABEL=cloudimg-rootfs / ext4 discard 0 1\n'
            'LABEL=BOOT /boot ext4 defaults 0 2\n',
            _kernel(_UBUNTU, _DEVICE_MODULES[1:]), {
                '/etc/debian_version': b'trixie/sid\n',
                '/etc/lsb-release': b'DISTRIB_ID=Ubuntu\n',
                '/var/lib/dpkg/status':
                    f'Package: linux-modules-{_UBUNTU}\n'
                    'Status: install ok installed\n'
                    'Version: 6.8.0-51.52\n\n'.encode()}))

    def test_ubuntu(self):
        self.assert_refused(
            'ubuntu', f'its kernel {_UBUNTU} has no nfit, nd_pmem; import'
            f' linux-modules-extra-{_UBUNTU} of version 6.8.0-51.52 with'
            ' "nova-flexmem drivers import"')

    @classmethod
    def make_fedora(cls, a, disk):
        """Root and home in subvolumes of btrfs, /boot on ext4."""
        cls._partitions(a, disk, 300000, -2048)
        a.shell(f'mkfs.ext4 -q -L boot {disk}1;'
                f' mkfs.btrfs -q -L fedora {disk}2')
        a.command('mount', f'{disk}2', '/')
        for name in ('root', 'home'):
            a.command('btrfs-subvolume-create', f'/{name}')
        a.command('umount-all')
        cls._put(a, (f'{disk}2', '/', 'subvol=root'),
                 (f'{disk}2', '/home', 'subvol=home'),
                 (f'{disk}1', '/boot', ''), _system(
                     'fedora', '43', 'LABEL=fedora / btrfs subvol=root 0 0\n'
                     'LABEL=fedora /home btrfs subvol=home 0 0\n'
                     'LABEL=boot /boot ext4 defaults 0 0\n',
                     _kernel('6.17.4-200.fc43.x86_64'),
                     {'/etc/fedora-release': b'Fedora release 43\n',
                      '/etc/redhat-release': b'Fedora release 43\n'}))

    def test_fedora(self):
        self.assertEqual('6.17.4-200.fc43.x86_64',
                         self.build('fedora').kernel_release)

    @classmethod
    def make_opensuse(cls, a, disk):
        """The default subvolume is a snapshot, and there is another."""
        cls._partitions(a, disk, -2048)
        a.shell(f'mkfs.btrfs -q -L root {disk}1')
        files = _system('opensuse-leap', '16.0', 'LABEL=root / btrfs'
                        ' defaults 0 0\n', _kernel('6.12.0-160000.5-default'))
        a.command('mount', f'{disk}1', '/')
        a.command('btrfs-subvolume-create', '/@')
        a.shell('mkdir -p /sysroot/@/.snapshots/1 /sysroot/@/.snapshots/2')
        a.command('btrfs-subvolume-create', '/@/.snapshots/1/snapshot')
        a.command('umount-all')
        cls._put(a, (f'{disk}1', '/', 'subvol=@/.snapshots/1/snapshot'), files)
        a.command('umount-all')
        a.command('mount', f'{disk}1', '/')
        a.shell('cd /sysroot/@/.snapshots; btrfs -q subvolume snapshot'
                ' 1/snapshot 2/snapshot; btrfs subvolume set-default'
                ' 1/snapshot')

    def test_opensuse(self):
        self.assertEqual('6.12.0-160000.5-default',
                         self.build('opensuse').kernel_release)

    @classmethod
    def make_arch(cls, a, disk):
        """Top level of btrfs; the kernel's file has no release in its name."""
        cls._partitions(a, disk, -2048)
        a.shell(f'mkfs.btrfs -q -L root {disk}1')
        cls._put(a, (f'{disk}1', '/', ''), _system(
            'arch', '', 'LABEL=root / btrfs defaults 0 0\n',
            _kernel('6.18.1-arch1-1', path='/boot/vmlinuz-linux', named=True),
            {'/etc/arch-release': b'', '/boot/grub/grub.cfg':
                b"menuentry 'Arch Linux' {\n"
                b'  linux /boot/vmlinuz-linux root=UUID=x rw quiet\n}\n'}))

    def test_arch(self):
        manifest = self.build('arch')
        self.assertEqual(('6.18.1-arch1-1', 'quiet'), (
            manifest.kernel_release, manifest.kernel_args))

    @classmethod
    def make_alpine(cls, a, disk):
        """vmlinuz-virt, extlinux, and no DAX in the configuration."""
        release = '6.12.10-0-virt'
        cls._partitions(a, disk, -2048)
        a.shell(f'mkfs.ext4 -q -L root {disk}1')
        cls._put(a, (f'{disk}1', '/', ''), _system(
            'alpine', '3.22', 'LABEL=root / ext4 defaults 0 1\n',
            _kernel(release, path='/boot/vmlinuz-virt', named=True),
            {'/etc/alpine-release': b'3.22.0\n',
             f'/boot/config-{release}': b'CONFIG_X86_64=y\n',
             '/boot/extlinux.conf': b'DEFAULT virt\nLABEL virt\n'
                                    b'  LINUX vmlinuz-virt\n'}))

    def test_alpine(self):
        self.assert_refused(
            'alpine', 'its kernel 6.12.10-0-virt has no support for DAX'
            ' (CONFIG_FS_DAX), DAX (CONFIG_NVDIMM_PFN); install a kernel with'
            ' it in the image')

    @classmethod
    def make_unified(cls, a, disk):
        """A unified kernel image on the ESP, by systemd-boot."""
        cls._partitions(a, disk, 300000, -2048)
        a.shell(f'mkfs.vfat -n ESP {disk}1; mkfs.ext4 -q -L root {disk}2')
        cls._put(a, (f'{disk}2', '/', ''), (f'{disk}1', '/efi', ''), _system(
            'debian', '13', 'LABEL=root / ext4 defaults 0 1\n'
            'LABEL=ESP /efi vfat defaults 0 0\n', _DEBIAN,
            {'/efi/EFI/Linux/debian-6.12.efi': b'MZ',
             '/lib/modules/6.12.0-amd64/modules.dep': b''}))

    def test_unified(self):
        self.assert_refused(
            'unified', 'its kernel is part of a unified kernel image,'
            ' /efi/EFI/Linux/debian-6.12.efi; install an ordinary kernel in'
            ' the image, a vmlinuz-RELEASE in /boot')

    @classmethod
    def make_ostree(cls, a, disk):
        cls._partitions(a, disk, -2048)
        a.shell(f'mkfs.ext4 -q -L root {disk}1')
        cls._put(a, (f'{disk}1', '/', ''), {
            '/ostree/repo/config': b'[core]\n',
            '/ostree/deploy/fedora-coreos/deploy/0/usr/bin/sh':
                small_image.elf(small_image.X86_64)})

    def test_ostree(self):
        self.assert_refused(
            'ostree', 'it is an OSTree system, whose root tree is put together'
            ' at each start; use an image of the distribution without OSTree')

    @classmethod
    def make_sectors(cls, a, disk):
        """A GPT for sectors of 4096 bytes: its header is in the second."""
        a.shell(f'printf "EFI PART" | dd of={disk} bs=4096 seek=1'
                ' conv=notrunc status=none')

    def test_sectors(self):
        self.assert_refused(
            'sectors', 'its partition table is for disks with sectors of 4096'
            ' bytes, and disks of instances have 512; make the image for'
            ' sectors of 512 bytes')

    @classmethod
    def make_mdraid(cls, a, disk):
        """One disk of a mirror, as of an image for two."""
        cls._partitions(a, disk, -2048)
        a.shell(f'mdadm --create /dev/md/root --run --metadata=1.2 --level=1'
                f' --raid-devices=2 --homehost=any {disk}1 missing;'
                ' mkfs.ext4 -q -L root /dev/md/root')
        cls._put(a, ('/dev/md/root', '/', ''), _system(
            'debian', '12', 'LABEL=root / ext4 defaults 0 1\n', _DEBIAN,
            _kernel(small_image.RELEASE)))
        a.command('umount-all')
        a.shell('mdadm --stop /dev/md/root')

    def test_mdraid(self):
        self.assertEqual(small_image.RELEASE,
                         self.build('mdraid').kernel_release)
