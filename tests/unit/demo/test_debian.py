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

"""The making of Debian images: what is decided before anything runs."""

import os
import threading

import fixtures
import testtools
from testtools import matchers

from nova_flexmem.demo import cache
from nova_flexmem.demo import debian
from nova_flexmem.demo import layouts
from nova_flexmem.demo import sources
from nova_flexmem import exception

_TARGETS = """\
||./|http://flat.example/
Other Vendor|main|bookworm|http://vendor.example/
Debian|main|bookworm|http://mirror.example/debian/
Debian|main|bookworm|http://second.example/debian/
Debian|contrib|bookworm|http://mirror.example/debian/
Debian|main|bookworm-updates|http://mirror.example/debian/
Debian|main|bookworm-security|http://mirror.example/security/
Other|main|bookworm|http://other.example/
Debian|main|bookworm-backports|http://mirror.example/debian/
"""

_KEYRING = '[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'


class SourcesTest(testtools.TestCase):

    def test_host_suite(self):
        self.assertEqual(
            [f'deb {_KEYRING} http://mirror.example/debian/ bookworm main',
             f'deb {_KEYRING} http://mirror.example/debian/'
             ' bookworm-updates main',
             f'deb {_KEYRING} http://mirror.example/security/'
             ' bookworm-security main'],
            sources.derive(_TARGETS, 'bookworm', 'bookworm'))

    def test_other_suite_comes_from_the_same_places(self):
        self.assertEqual(
            [f'deb {_KEYRING} http://mirror.example/debian/ trixie main',
             f'deb {_KEYRING} http://mirror.example/security/'
             ' trixie-security main'],
            sources.derive('\n'.join(
                line for line in _TARGETS.splitlines()
                if 'updates' not in line), 'bookworm', 'trixie'))

    def test_no_debian_host(self):
        for targets in ('', 'Ubuntu|main|noble|http://mirror.example/\n'):
            e = self.assertRaises(exception.DemoFailed, sources.derive,
                                  targets, 'noble', 'bookworm')
            self.assertIn('apt-get update', str(e))


class BootstrapTest(testtools.TestCase):

    _SOURCES = ['deb a bookworm main', 'deb b bookworm-security main']

    def test_point_release_leaves_upgrades_to_the_guest(self):
        system = layouts.System('bookworm', ('one', 'two'), point_release=True)
        argv = debian.bootstrap_argv(system, self._SOURCES, 'out.tar')
        self.assertIn('--include=one,two', argv)
        self.assertEqual(['bookworm', 'out.tar', self._SOURCES[0]],
                         argv[-3:])

    def test_current(self):
        system = layouts.System('trixie', ('one',), point_release=False)
        argv = debian.bootstrap_argv(system, self._SOURCES, 'out.tar')
        self.assertEqual(['trixie', 'out.tar', *self._SOURCES], argv[-4:])


class LayoutTest(testtools.TestCase):

    def test_bookworm_layouts_share_a_system(self):
        self.assertEqual(1, len({plan.system for name, plan
                                 in layouts.LAYOUTS.items() if name != 'xfs'}))

    def test_what_fstab_mounts_is_what_the_disk_has(self):
        for name, plan in layouts.LAYOUTS.items():
            mounted = [words[-1] for words in plan.disk
                       if words[0].startswith('mount')]
            in_fstab = [line.split()[1] for line in plan.fstab]
            self.assertEqual(set(in_fstab), set(mounted), name)

    def test_files(self):
        files = layouts.files(layouts.LAYOUTS['lvm-btrfs'], ['deb a b main'])
        self.assertEqual('deb a b main\n', files['/etc/apt/sources.list'])
        self.assertThat(files['/etc/fstab'], matchers.StartsWith(
            '/dev/mapper/debian-root / btrfs '))
        self.assertIn('console=ttyS0',
                      files['/etc/default/grub.d/10_cloud.cfg'])

    def test_no_such_layout(self):
        e = self.assertRaises(exception.DemoFailed, debian.build, 'ntfs', '/x')
        self.assertIn('ntfs', str(e))
        self.assertIn('btrfs', str(e))


class CacheTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir())
        self.made = 0

    def _make(self, scratch):
        self.made += 1
        path = f'{scratch}/new'
        with open(path, 'w') as f:
            f.write('content')
        return path

    def _get(self, recipe='recipe', make=None):
        return cache.get(self.folder.path, 'stem', '.raw', recipe,
                         make or self._make)

    def test_made_once(self):
        path = self._get()
        self.assertEqual(path, self._get())
        self.assertThat(path, matchers.FileContains('content'))
        self.assertEqual(1, self.made)

    def test_other_recipe_is_another_file(self):
        self.assertNotEqual(self._get('one'), self._get('two'))

    def test_two_at_once(self):
        threads = [threading.Thread(target=self._get) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(1, self.made)

    def test_interrupt_leaves_nothing(self):
        def interrupted(scratch):
            self._make(scratch)
            raise KeyboardInterrupt

        self.assertRaises(KeyboardInterrupt, self._get, make=interrupted)
        self.assertThat(self.folder.path, matchers.DirContains(['locks']))

    def test_leftover_of_a_killed_process(self):
        path = self._get()
        os.unlink(path)
        os.makedirs(f'{path}.partial/half')
        self._get()
        self.assertThat(path, matchers.FileContains('content'))
        self.assertThat(f'{path}.partial',
                        matchers.Not(matchers.PathExists()))
