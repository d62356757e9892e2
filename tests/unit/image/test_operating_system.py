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

import fixtures
import testtools

from nova_flexmem import exception
from nova_flexmem.image import operating_system
from tests.unit.image import samples

_FOUND = {'inspect-os': ['/dev/sda1'],
          'inspect-get-type /dev/sda1': ['linux'],
          'inspect-get-arch /dev/sda1': ['x86_64'],
          'inspect-get-distro /dev/sda1': ['debian'],
          'inspect-get-major-version /dev/sda1': ['12'],
          'inspect-get-minor-version /dev/sda1': ['7'],
          'inspect-get-product-name /dev/sda1': ['Debian GNU/Linux'],
          'inspect-get-mountpoints /dev/sda1': ['/: /dev/sda1',
                                                '/home: /dev/sda2']}


class FindTest(testtools.TestCase):

    def find(self, **changes):
        return operating_system.find(samples.Appliance(_FOUND | {
            f'inspect-get-{what.replace("_", "-")} /dev/sda1': lines
            for what, lines in changes.items()}), '/images/disk')

    def test_debian(self):
        self.assertEqual(operating_system.OperatingSystem(
            'debian', '12.7', 'Debian GNU/Linux',
            {'/': '/dev/sda1', '/home': '/dev/sda2'}), self.find())

    def test_a_name_that_a_terminal_would_obey(self):
        self.assertEqual('\\x1b[2J x', self.find(
            product_name=['\x1b[2J', 'x']).product)

    def test_mount_points_with_odd_names(self):
        self.assertEqual(
            {'/': '/dev/sda1', '/a': 'b: /dev/sda2'},
            self.find(mountpoints=['/a: b: /dev/sda2', '/a', '', 'x:',
                                   '/: /dev/sdb']).mountpoints)

    def test_other_systems(self):
        for changes, said in (({'type': ['windows']}, 'windows'),
                              ({'type': []}, 'operating system is'),
                              ({'arch': ['aarch64']}, 'aarch64')):
            e = self.assertRaises(exception.ImageRefused, self.find,
                                  **changes)
            self.assertIn(said, str(e))


class MountTest(testtools.TestCase):

    def tree(self, mountpoints, links=None, text=''):
        """Return a Tree of /dev/sda1 to /dev/sda3.

        :param links: {mount point: where it leads to}
        :param text: the image's fstab
        """
        answers = samples.devices(
            {f'/dev/sda{number}': 'ext4' for number in (1, 2, 3)})
        answers['is-file /etc/fstab followsymlinks:true'] = ['true']
        answers['filesize /etc/fstab'] = [str(len(text))]
        for point in mountpoints:
            answers[f'is-dir {point} followsymlinks:true'] = ['true']
            answers[f'realpath {point}'] = [(links or {}).get(point, point)]
        self.appliance = Downloads(answers, text)
        return operating_system.mount(
            self.appliance, operating_system.OperatingSystem(
                'debian', '12', '', mountpoints | {'/': '/dev/sda1'}),
            self.useFixture(fixtures.TempDir()).path)

    def mounted(self, mountpoints, links=None, text=''):
        self.tree(mountpoints, links, text)
        return [command.removeprefix('mount-ro ')
                for command in self.appliance.commands
                if command.startswith('mount-ro')]

    def test_all_mount_points(self):
        self.assertEqual(
            ['/dev/sda1 /', '/dev/sda2 /boot', '/dev/sda3 /boot/efi'],
            self.mounted({'/boot/efi': '/dev/sda3', '/boot': '/dev/sda2'}))

    def test_links_are_followed_in_the_image(self):
        """Else the appliance would mount over its own /usr/bin."""
        self.assertEqual(
            ['/dev/sda1 /', '/dev/sda2 /usr/bin'],
            self.mounted({'/home': '/dev/sda2', '/up': '/dev/sda3'},
                         {'/home': '/usr/bin', '/up': '/'}))

    def test_other_disks(self):
        """libguestfs hands on what it does not know of."""
        text = """\
/dev/vda1 / ext4 defaults 0 1
/dev/vda2 /boot ext4 defaults 0 2
/dev/vdb /mnt auto defaults,nofail,comment=cloudconfig 0 2
/dev/sdb1 /data btrfs nofail,subvol=data 0 2
/dev/disk/by-id/virtio-0b9c56c1 /volume xfs nofail 0 2
"""
        points = {'/boot': '/dev/sda2', '/mnt': '/dev/vdb',
                  '/data': 'btrfsvol:/dev/sdb1/data',
                  '/volume': '/dev/disk/by-id/virtio-0b9c56c1'}
        self.assertEqual(['/dev/sda1 /', '/dev/sda2 /boot'],
                         self.mounted(points, text=text))
        lines = self.tree(points, text=text).reduced['/etc/fstab'].splitlines()
        self.assertEqual(
            ['# flexmem: /dev/vda1 / ext4 defaults 0 1',
             '# flexmem: /dev/vda2 /boot ext4 defaults 0 2',
             *text.splitlines()[2:]], lines[2:])

    def test_encrypted_devices_of_the_image(self):
        answers = samples.devices({
            '/dev/sda1': 'ext4', '/dev/sda2': ['TYPE=swap', 'USAGE=other'],
            '/dev/sda3': ['UUID=CCCC-3', 'TYPE=crypto_LUKS', 'USAGE=crypto']})
        for path in ('/etc/fstab', '/etc/crypttab'):
            answers |= {f'is-file {path} followsymlinks:true': ['true'],
                        f'filesize {path}': ['1']}
        crypttab = ('swap /dev/vda2 /dev/urandom swap\n'
                    'data UUID=cccc-3 none luks\n'
                    'volume /dev/vdb none luks,nofail\n')
        fstab = ('/dev/sda1 / ext4 defaults 0 1\n'
                 '/dev/mapper/swap none swap sw 0 0\n'
                 '/dev/mapper/{} /data ext4 {} 0 2\n')

        def tree(*words):
            return operating_system.mount(
                Downloads(answers, {'/etc/fstab': fstab.format(*words),
                                    '/etc/crypttab': crypttab}),
                operating_system.OperatingSystem(
                    'debian', '12', '', {'/': '/dev/sda1'}, 'image.raw'),
                self.useFixture(fixtures.TempDir()).path)
        for words in (('volume', 'defaults'), ('data', 'nofail')):
            self.assertEqual(
                '# flexmem: swap /dev/vda2 /dev/urandom swap\n'
                '# flexmem: data UUID=cccc-3 none luks\n'
                'volume /dev/vdb none luks,nofail\n',
                tree(*words).reduced['/etc/crypttab'])
        e = self.assertRaises(exception.ImageRefused, tree, 'data', 'defaults')
        self.assertEqual(
            'image.raw: its /etc/fstab mounts /dev/mapper/data at /data, which'
            ' is encrypted (LUKS) in it; use an image without encryption',
            str(e))

    def test_first_disk_whatever_its_name(self):
        """libguestfs knows other names of its partitions alone."""
        self.assertEqual(
            ['/dev/sda1 /', '/dev/sda3 /srv'],
            self.mounted({'/srv': '/dev/xvda3'},
                         text='/dev/xvda3 /srv ext4 defaults 0 0\n'))


class Downloads(samples.Appliance):
    """An appliance whose files are {path: text}, or all the same text."""

    def __init__(self, answers, texts):
        super().__init__(answers)
        self._texts = texts

    def command(self, *words):
        if words[0] == 'download':
            with open(words[2], 'w') as f:
                f.write(self._texts if isinstance(self._texts, str)
                        else self._texts[words[1]])
        return super().command(*words)


class ReadTest(testtools.TestCase):

    def read(self, *size):
        folder = self.useFixture(fixtures.TempDir()).path
        tree = operating_system.mount(
            Downloads({'is-file /file followsymlinks:true': ['true'],
                       'filesize /file': [*size]}, 'content'),
            operating_system.OperatingSystem('debian', '12', '',
                                             {'/': '/dev/sda1'}), folder)
        return tree.read('/file', 7)

    def test_content(self):
        self.assertEqual(b'content', self.read('7'))

    def test_sizes_that_are_too_large_or_none(self):
        for size in (['8'], ['-1'], [], ['x'], ['9' * 5000], ['7', '7']):
            e = self.assertRaises(exception.ProgramFailed, self.read, *size)
            self.assertIn('/file in the image', str(e))
