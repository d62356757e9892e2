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

from nova_flexmem.image import fstab

_HEADER = """\
# Lines marked "flexmem:" mounted parts of the image; in a FlexMem instance \
these are
# in the root filesystem already, and swap space of the image does not exist.
"""

_DEBIAN = """\
# /etc/fstab: static file system information.
UUID=1-2-3\t/ ext4 defaults,x-systemd.growfs 0 1
UUID=4-5   /boot/efi   vfat umask=0077 0 1
/dev/vdb none swap sw 0 0
tmpfs /tmp tmpfs size=50% 0 0
server:/export /mnt/share nfs4 _netdev 0 0
LABEL=volume /srv xfs nofail 0 2
"""

_DEBIAN_REDUCED = _HEADER + """\
# /etc/fstab: static file system information.
# flexmem: UUID=1-2-3\t/ ext4 defaults,x-systemd.growfs 0 1
# flexmem: UUID=4-5   /boot/efi   vfat umask=0077 0 1
# flexmem: /dev/vdb none swap sw 0 0
tmpfs /tmp tmpfs size=50% 0 0
server:/export /mnt/share nfs4 _netdev 0 0
LABEL=volume /srv xfs nofail 0 2
"""


_KNOWN = {'UUID=1-2-3': '/dev/sda3', '/dev/sda3': '/dev/sda3',
          'PARTUUID=ab-01': '/dev/sda2', 'LABEL=EFI': '/dev/sda2',
          '/dev/sda2': '/dev/sda2'}


class BindTest(testtools.TestCase):
    """What a filesystem's options forbade stays forbidden in its folder."""

    def bound(self, options, point='/tmp', points=('/', '/tmp')):
        text = f'UUID=1-2-3 {point} ext4 {options} 0 2\n'
        lines = fstab.reduce(text, _KNOWN, points).splitlines()[2:]
        self.assertEqual(f'# flexmem: {text}'.strip(), lines[0])
        return [line.split() for line in lines[1:]]

    def test_options(self):
        for options, kept in (
                ('nodev', 'nodev'), ('noatime,nosuid,x-y', 'nosuid'),
                ('noexec,nosuid,nodev', 'nodev,nosuid,noexec'),
                ('noexec,exec,nodev', 'nodev'), ('exec,noexec', 'noexec'),
                ('ro', 'ro'), ('ro,rw,nosuid', 'nosuid')):
            self.assertEqual(
                [['/tmp', '/tmp', 'none', f'rbind,{kept},x-flexmem', '0',
                  '0']], self.bound(options), options)

    def test_nothing_forbidden(self):
        for options in ('defaults', 'rw,suid,dev,exec', 'noatime,nodevice',
                        'noauto,nodev'):
            self.assertEqual([], self.bound(options), options)

    def test_root_and_what_is_mounted_nowhere(self):
        self.assertEqual([], self.bound('ro,nodev', '/'))
        self.assertEqual([], self.bound('nodev', '/tmp', ['/']))

    def test_escapes_stay(self):
        self.assertEqual('/a\\040b', self.bound(
            'nodev', '/a\\040b', ['/', '/a b'])[0][0])


class RestoreTest(testtools.TestCase):

    def test_what_a_base_changes_comes_back(self):
        text = ('UUID=1-2-3 / ext4 defaults 0 1\n# note\n'
                'PARTUUID=ab-01 /tmp ext4 nodev,nosuid 0 0\n'
                'proc /proc proc x 0 0\n')
        reduced = fstab.reduce(text, _KNOWN, ['/', '/tmp'])
        self.assertIn('rbind', reduced)
        added = '/dev/vdb /mnt ext4 defaults 0 0\n'
        self.assertEqual(text + added, fstab.restore(reduced + added))
        self.assertEqual(text, fstab.restore(text))


class ReduceTest(testtools.TestCase):

    def _assert_unchanged(self, text):
        self.assertEqual(text, fstab.reduce(text, _KNOWN, ['/']))

    def test_debian(self):
        self.assertEqual(_DEBIAN_REDUCED, fstab.reduce(
            _DEBIAN, {}, ['/', '/boot/efi']))

    def test_mount_points_with_a_slash_at_the_end(self):
        self.assertEqual(_HEADER + """\
# flexmem: UUID=9 / btrfs subvol=@ 0 0
# flexmem: UUID=9 /home/ btrfs subvol=@home 0 0
""", fstab.reduce("""\
UUID=9 / btrfs subvol=@ 0 0
UUID=9 /home/ btrfs subvol=@home 0 0
""", {}, {'/', '/home'}))

    def test_filesystems_of_the_image_by_any_name(self):
        """However an identifier is written, and wherever it is mounted."""
        for name in ('UUID=1-2-3', 'PARTUUID=AB-01', 'LABEL="EFI"',
                     '/dev/sda2'):
            self.assertEqual(
                f'{_HEADER}# flexmem: {name} /data ext4\n',
                fstab.reduce(f'{name} /data ext4\n', _KNOWN, ['/']))
        self._assert_unchanged('LABEL=efi /data ext4\n')
        self._assert_unchanged('/dev/vdb1 /data ext4\n')

    def test_nothing_to_reduce(self):
        self._assert_unchanged('# UUID=1 / ext4 defaults 0 1\n'
                               'proc /proc proc defaults 0 0\n')

    def test_swap_file_and_swap_of_any_mount_point(self):
        for line in ('/swapfile none swap sw 0 0', '/dev/vdb swap swap sw'):
            self.assertEqual(f'{_HEADER}# flexmem: {line}\n',
                             fstab.reduce(line, {}, ['/']))

    def test_short_and_odd_lines_stay(self):
        self._assert_unchanged('\n   \n/dev/sda1\n/dev/sda1 /\n'
                               'not an fstab at all, this\n')

    def test_a_comment_stays_one_line(self):
        """Only a line feed ends a line, not all that Unicode has for it."""
        self._assert_unchanged(
            '# a\x0b/dev/evil /evil ext4\x0cx\u2028y\x85z\r\n')

    def test_escapes(self):
        text = 'LABEL=EFI /srv/my\\040files vfat x 0 0\n'
        self.assertEqual({'/srv/my files': '/dev/sda2'},
                         fstab.mountables(text, _KNOWN))
        self.assertEqual(f'{_HEADER}# flexmem: {text}',
                         fstab.reduce(text, _KNOWN, ['/srv/my files']))
        self.assertEqual(
            {'/srv': '/dev/sda5'}, fstab.mountables(
                'PARTLABEL=Linux\\040data /srv xfs x 0 0\n',
                {'PARTLABEL=Linux data': '/dev/sda5'}))

    def test_bytes_that_are_no_text_stay(self):
        self._assert_unchanged(b'tmpfs /\xff\xfe tmpfs defaults 0 0\n'.decode(
            errors='surrogateescape'))


class MountablesTest(testtools.TestCase):

    def _assert_mountables(self, expected, text):
        self.assertEqual(expected, fstab.mountables(text, _KNOWN))

    def test_by_what_libguestfs_does_not_know(self):
        self._assert_mountables(
            {'/boot': '/dev/sda2'},
            'PARTUUID=ab-01 /boot ext4 defaults 0 2\n')

    def test_subvolume(self):
        self._assert_mountables(
            {'/home': 'btrfsvol:/dev/sda3/@home'},
            'UUID=1-2-3 /home btrfs rw,subvol=/@home,ssd 0 0\n')

    def test_what_is_not_mounted_at_boot(self):
        self._assert_mountables({}, """\
# LABEL=EFI /comment vfat defaults
LABEL=EFI none swap sw
LABEL=EFI /media vfat user,noauto
LABEL=volume /srv ext4 defaults
""")

    def test_first_disk_whatever_its_name(self):
        for name in ('sda2', 'vda2', 'xvda2', 'hda2'):
            self._assert_mountables({'/boot': '/dev/sda2'},
                                    f'/dev/{name} /boot ext4 defaults\n')
        self._assert_mountables({}, '/dev/vdb2 /boot ext4 defaults\n')

    def test_mount_points_that_can_not_be(self):
        for point in ('none', 'home', '/a/../../etc', "/a'b", '/a\\012b',
                      '//', '/'):
            self._assert_mountables({}, f'LABEL=EFI {point} vfat defaults\n')


class KnownTest(testtools.TestCase):

    def test_filesystems_of_the_image(self):
        for name in ('/dev/sda3', 'btrfsvol:/dev/sda3/@home',
                     'btrfsvol:/dev/sda2/a/b'):
            self.assertTrue(fstab.is_known(name, _KNOWN), name)

    def test_others(self):
        for name in ('/dev/vdb', '/dev/sda', '/dev/sda33', '/dev/sda3/x',
                     '/dev/disk/by-id/virtio-0b9c56c1', '', 'btrfsvol:',
                     'btrfsvol:/dev/vdb1/@', 'btrfsvol:/dev/sda33/@'):
            self.assertFalse(fstab.is_known(name, _KNOWN), name)


class WhyNotTest(testtools.TestCase):

    def why_not(self, line, mounted=('/', '/srv')):
        return fstab.why_not(line + '\n', _KNOWN, mounted)

    def test_files_that_would_be_lost(self):
        self.assertEqual(
            'its /etc/fstab mounts LABEL=EFI at /data, which is no folder in'
            ' it; make that folder in the image',
            self.why_not('LABEL=EFI /data vfat defaults 0 0'))
        self.assertIn('/my files, which is no folder',
                      self.why_not('LABEL=EFI /my\\040files vfat x 0 0'))
        self.assertIn('/a\n, which', self.why_not('LABEL=EFI /a\\012 x y'))

    def test_subvolume_by_number(self):
        self.assertIn('name it with subvol=', self.why_not(
            'UUID=1-2-3 /srv btrfs compress=zstd,subvolid=257 0 0'))
        self.assertIsNone(self.why_not(
            'UUID=1-2-3 /srv btrfs subvolid=257,subvol=/@srv 0 0'))

    def test_by_path(self):
        line = '/dev/disk/by-path/pci-0000:00:04.0-part1 /srv xfs {} 0 2'
        self.assertIn('name it by UUID= or LABEL=',
                      self.why_not(line.format('defaults')))
        for options in ('nofail', 'noauto,ro'):
            self.assertIsNone(self.why_not(line.format(options)))

    def test_nothing_is_lost(self):
        for line in ('UUID=1-2-3 / ext4 x 0 1', 'LABEL=EFI /srv/ vfat x 0 0',
                     'LABEL=EFI /gone vfat noauto 0 0', 'LABEL=EFI none swap',
                     'LABEL=other /gone xfs x 0 0', 'tmpfs /gone tmpfs x 0 0',
                     '# LABEL=EFI /gone vfat x 0 0', 'LABEL=EFI none vfat x'):
            self.assertIsNone(self.why_not(line), line)
