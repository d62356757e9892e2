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

"""Images in the shapes of distributions' cloud images."""

from tests.functional import shapes

_MACHINE = '8d3f0c5b7c1e4a6f9d2b3a4c5d6e7f80'
_EL = ('5.14.0-611.el9.x86_64', '5.14.0-611.5.1.el9_7.x86_64')
_UBUNTU = {'20.04': ('5.4.0-200-generic', '5.4.0-200.220'),
           '22.04': ('5.15.0-125-generic', '5.15.0-125.135'),
           '24.04': ('6.8.0-51-generic', '6.8.0-51.52')}
_SUSE = '6.4.0-150600.23.25-default'
_AMAZON = '6.1.112-122.189.amzn2023.x86_64'
_DEVICE_MODULES = ('libnvdimm', 'nfit', 'nd_pmem')


def _entry(release, options):
    return {f'/boot/loader/entries/{_MACHINE}-{release}.conf':
            f'title Red Hat {release}\nversion {release}\n'
            f'linux /vmlinuz-{release}\noptions {options}\n'.encode()}


_RHEL = shapes.system(
    'rhel', '9.7', 'LABEL=root / xfs defaults 0 0\n'
    'LABEL=boot /boot xfs defaults 0 0\n', *map(shapes.kernel, _EL), *(
        _entry(release, f'root=LABEL=root ro crashkernel=1G x={number}')
        for number, release in enumerate(_EL)), {
        '/etc/redhat-release': b'Red Hat Enterprise Linux release 9.7\n',
        '/boot/grub2/grub.cfg': b'set default="${saved_entry}"\nblscfg\n',
        '/boot/grub2/grubenv': b'# GRUB Environment Block\n'
            b'saved_entry=%s-%s\n' % (_MACHINE.encode(), _EL[0].encode())})


class VendorsTest(shapes.ShapesTestCase):

    @classmethod
    def make_rhel(cls, a, disk):
        """XFS root and /boot, BLS, a saved entry of the older kernel."""
        cls.partitions(a, disk, 700000, -2048)
        a.shell(f'mkfs.xfs -q -L boot {disk}1; mkfs.xfs -q -L root {disk}2')
        cls.put(a, (f'{disk}2', '/', ''), (f'{disk}1', '/boot', ''), _RHEL)

    def test_rhel(self):
        manifest = self.build('rhel')
        self.assertEqual((_EL[0], 'x=0'), (manifest.kernel_release,
                                           manifest.kernel_args))
        self.assertEqual([_EL[1]], manifest.kernel_others)

    @classmethod
    def make_rhel8(cls, a, disk):
        """An old kernel, without EROFS."""
        release = '4.18.0-553.el8_10.x86_64'
        cls.partitions(a, disk, -2048)
        a.shell(f'mkfs.xfs -q -L root {disk}1')
        cls.put(a, (f'{disk}1', '/', ''), shapes.system(
            'rhel', '8.10', 'LABEL=root / xfs defaults 0 0\n',
            shapes.kernel(release, without=('erofs',)),
            _entry(release, 'root=LABEL=root ro no_timer_check'),
            {'/etc/redhat-release':
                b'Red Hat Enterprise Linux release 8.10\n'}))

    def test_rhel8(self):
        manifest = self.build('rhel8')
        self.assertEqual(('ext4', 'no_timer_check'),
                         (manifest.rootfs, manifest.kernel_args))

    @classmethod
    def _make_ubuntu(cls, a, disk, version):
        release, package_version = _UBUNTU[version]
        files = shapes.system(
            'ubuntu', version, 'LABEL=cloudimg-rootfs / ext4 discard 0 1\n'
            'LABEL=BOOT /boot ext4 defaults 0 2\n',
            shapes.kernel(release, _DEVICE_MODULES[1:]), {
                '/etc/debian_version': b'trixie/sid\n',
                '/etc/lsb-release': b'DISTRIB_ID=Ubuntu\n',
                '/var/lib/dpkg/status':
                    f'Package: linux-modules-{release}\n'
                    'Status: install ok installed\n'
                    f'Version: {package_version}\n\n'.encode()})
        cls.partitions(a, disk, 300000, -2048)
        a.shell(f'mkfs.ext4 -q -L BOOT {disk}1;'
                f' mkfs.ext4 -q -L cloudimg-rootfs {disk}2')
        cls.put(a, (f'{disk}2', '/', ''), (f'{disk}1', '/boot', ''), files)

    @classmethod
    def make_ubuntu2004(cls, a, disk):
        cls._make_ubuntu(a, disk, '20.04')

    @classmethod
    def make_ubuntu2204(cls, a, disk):
        cls._make_ubuntu(a, disk, '22.04')

    @classmethod
    def make_ubuntu2404(cls, a, disk):
        cls._make_ubuntu(a, disk, '24.04')

    def test_ubuntu(self):
        """No nd_pmem, /boot by LABEL=BOOT."""
        for version, (release, package_version) in _UBUNTU.items():
            self.assert_refused(
                f'ubuntu{version.replace(".", "")}', f'its kernel {release}'
                f' has no nfit, nd_pmem; import linux-modules-extra-{release}'
                f' of version {package_version} with "nova-flexmem drivers'
                ' import"')

    @classmethod
    def make_fedora(cls, a, disk):
        """Root and home in subvolumes of btrfs, /boot on ext4."""
        cls.partitions(a, disk, 300000, -2048)
        a.shell(f'mkfs.ext4 -q -L boot {disk}1;'
                f' mkfs.btrfs -q -L fedora {disk}2')
        a.command('mount', f'{disk}2', '/')
        for name in ('root', 'home'):
            a.command('btrfs-subvolume-create', f'/{name}')
        a.command('umount-all')
        files = shapes.system(
            'fedora', '43', 'LABEL=fedora / btrfs subvol=root 0 0\n'
            'LABEL=fedora /home btrfs subvol=home 0 0\n'
            'LABEL=boot /boot ext4 defaults 0 0\n',
            shapes.kernel('6.17.4-200.fc43.x86_64'),
            {'/etc/fedora-release': b'Fedora release 43\n',
             '/etc/redhat-release': b'Fedora release 43\n'})
        cls.put(a, (f'{disk}2', '/', 'subvol=root'),
                (f'{disk}2', '/home', 'subvol=home'),
                (f'{disk}1', '/boot', ''), files)

    def test_fedora(self):
        self.assertEqual('6.17.4-200.fc43.x86_64',
                         self.build('fedora').kernel_release)

    @classmethod
    def make_opensuse(cls, a, disk):
        """The default subvolume is a snapshot, and there is another."""
        cls.partitions(a, disk, -2048)
        a.shell(f'mkfs.btrfs -q -L root {disk}1')
        files = shapes.system(
            'opensuse-leap', '16.0', 'LABEL=root / btrfs defaults 0 0\n'
            'LABEL=root /.snapshots btrfs subvol=/@/.snapshots 0 0\n',
            shapes.kernel('6.12.0-160000.5-default'),
            {'/.snapshots/README': b'covered\n'})
        a.command('mount', f'{disk}1', '/')
        a.command('btrfs-subvolume-create', '/@')
        a.command('btrfs-subvolume-create', '/@/.snapshots')
        a.shell('mkdir -p /sysroot/@/.snapshots/1 /sysroot/@/.snapshots/2')
        a.command('btrfs-subvolume-create', '/@/.snapshots/1/snapshot')
        a.command('umount-all')
        cls.put(a, (f'{disk}1', '/', 'subvol=@/.snapshots/1/snapshot'), files)
        a.command('umount-all')
        a.command('mount', f'{disk}1', '/')
        a.shell('cd /sysroot/@/.snapshots; btrfs -q subvolume snapshot'
                ' 1/snapshot 2/snapshot; btrfs subvolume set-default'
                ' 1/snapshot')

    def test_opensuse(self):
        manifest = self.build('opensuse')
        self.assertEqual('6.12.0-160000.5-default', manifest.kernel_release)
        # the system is in it once, and not as a snapshot again
        self.assertLess(manifest.files['root.pmem'].size_bytes, 6 << 20)

    @classmethod
    def make_suse_minimal(cls, a, disk):
        """kernel-default-base: neither nfit nor nd_pmem."""
        cls.partitions(a, disk, -2048)
        a.shell(f'mkfs.xfs -q -L ROOT {disk}1')
        cls.put(a, (f'{disk}1', '/', ''), shapes.system(
            'opensuse-leap', '15.6', 'LABEL=ROOT / xfs defaults 0 0\n',
            shapes.kernel(_SUSE, (*_DEVICE_MODULES[1:], 'erofs'))))

    def test_suse_minimal(self):
        self.assert_refused(
            'suse_minimal', f'its kernel {_SUSE} has no nfit, nd_pmem; import'
            ' kernel-default-6.4.0-150600.23.25 with "nova-flexmem drivers'
            ' import"')

    @classmethod
    def make_amazon(cls, a, disk):
        """A kernel without nfit and virtio_pmem."""
        cls.partitions(a, disk, -2048)
        a.shell(f'mkfs.xfs -q -L / {disk}1')
        cls.put(a, (f'{disk}1', '/', ''), shapes.system(
            'amzn', '2023', 'LABEL=/ / xfs defaults,noatime 1 1\n',
            shapes.kernel(_AMAZON, ('nfit',)),
            {f'/boot/config-{_AMAZON}':
                b'CONFIG_BLK_DEV_PMEM=m\nCONFIG_FS_DAX=y\n'
                b'CONFIG_NVDIMM_PFN=y\n# CONFIG_ACPI_NFIT is not set\n'}))

    def test_amazon(self):
        self.assert_refused(
            'amazon', f'its kernel {_AMAZON} has no support for nvdimm or'
            ' virtio-pmem; install a kernel with it in the image')

    @classmethod
    def make_azure(cls, a, disk):
        """Drivers that are built in, menu of GRUB, ESP."""
        release = '6.6.57.1-7.azl3'
        files = shapes.system(
            'azurelinux', '3.0', 'LABEL=root / ext4 defaults 0 1\n'
            'LABEL=ESP /boot/efi vfat umask=0077 0 2\n',
            shapes.kernel(release), {
                '/boot/grub2/grub.cfg':
                    b"menuentry 'Azure Linux' {\n  linux /boot/vmlinuz-%s"
                    b' root=LABEL=root rd.auto=1 console=ttyS0\n}\n'
                    % release.encode()})
        cls.partitions(a, disk, 300000, -2048)
        a.shell(f'mkfs.vfat -n ESP {disk}1; mkfs.ext4 -q -L root {disk}2')
        cls.put(a, (f'{disk}2', '/', ''), (f'{disk}1', '/boot/efi', ''), files)

    def test_azure(self):
        manifest = self.build('azure')
        self.assertEqual(('6.6.57.1-7.azl3', 'rd.auto=1 console=ttyS0'),
                         (manifest.kernel_release, manifest.kernel_args))

    @classmethod
    def make_cirros(cls, a, disk):
        """The image has few modules, and no overlay."""
        release = '5.15.0-117-generic'
        cls.partitions(a, disk, -2048)
        a.shell(f'mkfs.ext4 -q -L cirros-rootfs {disk}1')
        cls.put(a, (f'{disk}1', '/', ''), shapes.system(
            'cirros', '0.6.3', 'LABEL=cirros-rootfs / auto defaults 1 1\n',
            shapes.kernel(release, ('overlay', *_DEVICE_MODULES[1:])),
            {'/etc/cirros/version': b'0.6.3\n'}))

    def test_cirros(self):
        self.assert_refused(
            'cirros', 'its kernel 5.15.0-117-generic has no support for'
            ' overlay, nvdimm or virtio-pmem; install a kernel with it in the'
            ' image')

    @classmethod
    def make_arch(cls, a, disk):
        """Top level of btrfs; the kernel's file has no release in its name."""
        cls.partitions(a, disk, -2048)
        a.shell(f'mkfs.btrfs -q -L root {disk}1')
        cls.put(a, (f'{disk}1', '/', ''), shapes.system(
            'arch', '', 'LABEL=root / btrfs defaults 0 0\n',
            shapes.kernel('6.18.1-arch1-1', path='/boot/vmlinuz-linux',
                          named=True),
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
        cls.partitions(a, disk, -2048)
        a.shell(f'mkfs.ext4 -q -L root {disk}1')
        cls.put(a, (f'{disk}1', '/', ''), shapes.system(
            'alpine', '3.22', 'LABEL=root / ext4 defaults 0 1\n',
            shapes.kernel(release, path='/boot/vmlinuz-virt', named=True),
            {'/etc/alpine-release': b'3.22.0\n',
             f'/boot/config-{release}': b'CONFIG_X86_64=y\n',
             '/boot/extlinux.conf': b'DEFAULT virt\nLABEL virt\n'
                                    b'  LINUX vmlinuz-virt\n'}))

    def test_alpine(self):
        self.assert_refused(
            'alpine', 'its kernel 6.12.10-0-virt has no support for DAX'
            ' (CONFIG_FS_DAX), DAX (CONFIG_NVDIMM_PFN); install a kernel with'
            ' it in the image')
