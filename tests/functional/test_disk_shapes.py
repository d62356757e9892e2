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

"""Images whose systems lie on their disks in different ways."""

from tests.functional import shapes
from tests.functional import small_image


def _debian(fstab, *more):
    return shapes.system('debian', '12', fstab, shapes.DEBIAN,
                         shapes.kernel(small_image.RELEASE), *more)


class DisksTest(shapes.ShapesTestCase):

    def assert_built(self, name):
        manifest = self.build(name)
        self.assertEqual(small_image.RELEASE, manifest.kernel_release)
        return manifest

    @classmethod
    def make_whole_disk(cls, a, disk):
        """No partition table."""
        a.shell(f'mkfs.ext4 -q -L root {disk}')
        cls.put(a, (disk, '/', ''), _debian('/dev/vda / ext4 errors=x 0 1\n'))

    def test_whole_disk(self):
        self.assert_built('whole_disk')

    @classmethod
    def make_lvm(cls, a, disk):
        """Root and /var on logical volumes, named by the mapper."""
        cls.partitions(a, disk, -2048)
        a.shell(f'pvcreate -q {disk}1; vgcreate -q system {disk}1;'
                ' lvcreate -q -y -L 400M -n root system;'
                ' lvcreate -q -y -l 100%FREE -n var system;'
                ' mkfs.ext4 -q /dev/system/root; mkfs.ext4 -q /dev/system/var')
        cls.put(a, ('/dev/system/root', '/', ''),
                ('/dev/system/var', '/var', ''), _debian(
                    '/dev/mapper/system-root / ext4 defaults 0 1\n'
                    '/dev/mapper/system-var /var ext4 nodev,nosuid 0 2\n'))

    def test_lvm(self):
        self.assert_built('lvm')

    @classmethod
    def make_thin(cls, a, disk):
        """The root filesystem on a thin volume."""
        cls.partitions(a, disk, -2048)
        a.shell(f'pvcreate -q {disk}1; vgcreate -q thin {disk}1;'
                ' lvcreate -q -y -L 600M -T thin/pool;'
                ' lvcreate -q -y -V 500M -T thin/pool -n root;'
                ' mkfs.ext4 -q /dev/thin/root')
        cls.put(a, ('/dev/thin/root', '/', ''),
                _debian('/dev/thin/root / ext4 defaults 0 1\n'))
        a.command('umount-all')
        a.shell('vgchange -q -an thin')

    def test_thin(self):
        self.assert_built('thin')

    @classmethod
    def make_newer_xfs(cls, a, disk):
        """A feature that the host's kernel does not know."""
        cls.partitions(a, disk, -2048)
        a.shell(f'mkfs.xfs -q -L root {disk}1')
        cls.put(a, (f'{disk}1', '/', ''),
                _debian('LABEL=root / xfs defaults 0 0\n'))
        a.command('umount-all')
        a.shell(f"xfs_db -x -c 'sb 0' -c 'write -d features_incompat"
                f" 0x80000001' {disk}1")

    def test_newer_xfs(self):
        self.assert_refused(
            'newer_xfs', "no operating system found in it, and the host's"
            ' kernel cannot mount the xfs on /dev/sda1; it is damaged, or'
            ' needs a host with a newer kernel')

    @classmethod
    def make_hardened(cls, a, disk):
        """Filesystems of their own, on which little is allowed."""
        cls.partitions(a, disk, 500000, 600000, -2048)
        a.shell(f'mkfs.ext4 -q -L root {disk}1; mkfs.ext4 -q -L tmp {disk}2;'
                f' mkfs.xfs -q -L log {disk}3')
        cls.put(a, (f'{disk}1', '/', ''), (f'{disk}2', '/tmp', ''),
                (f'{disk}3', '/var/log', ''), _debian(
                    'LABEL=root / ext4 defaults 0 1\n'
                    'LABEL=tmp /tmp ext4 nodev,nosuid,noexec 0 2\n'
                    'LABEL=log /var/log xfs nodev,nosuid,noexec 0 2\n'))

    def test_hardened(self):
        self.assert_built('hardened')

    @classmethod
    def make_systemd_boot(cls, a, disk):
        """The kernel is on the ESP alone."""
        release = small_image.RELEASE
        path = f'/efi/0123456789abcdef/{release}/linux'
        files = shapes.system(
            'debian', '13', 'LABEL=root / ext4 defaults 0 1\n'
            'LABEL=ESP /efi vfat umask=0077 0 2\n', shapes.DEBIAN,
            shapes.kernel(release, path=path, named=True), {
                f'/efi/loader/entries/0123456789abcdef-{release}.conf':
                    f'title Debian\nversion {release}\n'
                    f'linux /0123456789abcdef/{release}/linux\n'
                    'options root=LABEL=root quiet\n'.encode()})
        cls.partitions(a, disk, 300000, -2048)
        a.shell(f'mkfs.vfat -n ESP {disk}1; mkfs.ext4 -q -L root {disk}2')
        cls.put(a, (f'{disk}2', '/', ''), (f'{disk}1', '/efi', ''), files)

    def test_systemd_boot(self):
        self.assert_refused(
            'systemd_boot', 'no kernel in it: no /boot/vmlinuz-RELEASE with a'
            ' /lib/modules/RELEASE folder; install a kernel in the image')

    @classmethod
    def make_encrypted_data(cls, a, disk):
        """A filesystem that the system would ask a passphrase for."""
        cls.partitions(a, disk, 800000, -2048)
        a.shell(f'mkfs.ext4 -q -L root {disk}1; echo secret | cryptsetup -q'
                f' luksFormat --pbkdf-force-iterations 4 --pbkdf-memory 32'
                f' --uuid 3d1f7a52-94be-4c0a-b1d7-6e5a0c9f8b23 {disk}2 -')
        cls.put(a, (f'{disk}1', '/', ''), _debian(
            'LABEL=root / ext4 defaults 0 1\n'
            '/dev/mapper/data /srv ext4 defaults 0 2\n',
            {'/etc/crypttab': b'data UUID=3d1f7a52-94be-4c0a-b1d7-6e5a0c9f8b23'
                              b' none luks\n'}))

    def test_encrypted_data(self):
        self.assert_refused(
            'encrypted_data', 'its /etc/fstab mounts /dev/mapper/data at'
            ' /srv, which is encrypted (LUKS) in it; use an image without'
            ' encryption')

    @classmethod
    def make_unified(cls, a, disk):
        """A unified kernel image on the ESP, by systemd-boot."""
        cls.partitions(a, disk, 300000, -2048)
        a.shell(f'mkfs.vfat -n ESP {disk}1; mkfs.ext4 -q -L root {disk}2')
        files = shapes.system(
            'debian', '13', 'LABEL=root / ext4 defaults 0 1\n'
            'LABEL=ESP /efi vfat defaults 0 0\n', shapes.DEBIAN,
            {'/efi/EFI/Linux/debian-6.12.efi': b'MZ',
             '/lib/modules/6.12.0-amd64/modules.dep': b''})
        cls.put(a, (f'{disk}2', '/', ''), (f'{disk}1', '/efi', ''), files)

    def test_unified(self):
        self.assert_refused(
            'unified', 'its kernel is part of a unified kernel image,'
            ' /efi/EFI/Linux/debian-6.12.efi; install an ordinary kernel in'
            ' the image, a vmlinuz-RELEASE in /boot')

    @classmethod
    def make_ostree(cls, a, disk):
        cls.partitions(a, disk, -2048)
        a.shell(f'mkfs.ext4 -q -L root {disk}1')
        cls.put(a, (f'{disk}1', '/', ''), {
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
        cls.partitions(a, disk, -2048)
        a.shell(f'mdadm --create /dev/md/root --run --metadata=1.2 --level=1'
                f' --raid-devices=2 --homehost=any {disk}1 missing;'
                ' mkfs.ext4 -q -L root /dev/md/root')
        cls.put(a, ('/dev/md/root', '/', ''),
                _debian('LABEL=root / ext4 defaults 0 1\n'))
        a.command('umount-all')
        a.shell('mdadm --stop /dev/md/root')

    def test_mdraid(self):
        self.assert_built('mdraid')
