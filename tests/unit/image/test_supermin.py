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

import os
import subprocess
import sys
from unittest import mock

import fixtures
import testtools

from nova_flexmem import exception
from nova_flexmem.image import supermin


class PartsTest(testtools.TestCase):
    """What supermin makes the appliance from."""

    def setUp(self):
        super().setUp()
        folder = self.useFixture(fixtures.TempDir()).path
        self.home = os.path.join(folder, 'home')
        self.parts = os.path.join(self.home, 'supermin.d')
        self.system = os.path.join(folder, 'system')
        os.mkdir(self.system)
        self.add('packages', 'packages-xfs')
        self.useFixture(fixtures.MockPatchObject(
            supermin, '_SYSTEM_APPLIANCE', ('/none', self.system)))
        self.lenses = os.path.join(folder, 'lenses')
        self.useFixture(fixtures.MockPatchObject(
            supermin, '_LENSES_FOLDER', self.lenses))

    def add(self, *names):
        for name in names:
            with open(os.path.join(self.system, name), 'w') as f:
                f.write(f'{name}\n')

    def linked(self):
        """Return {name: target} of the links that a start leaves."""
        supermin.environment(self.home, '/tmp', '/tmp')
        names = set(os.listdir(self.parts))
        names -= {'zz-packages-flexmem', 'zz-excludefiles-flexmem'}
        return {name: os.readlink(os.path.join(self.parts, name))
                for name in names}

    def expected(self, *names):
        return {name: os.path.join(self.system, name) for name in names}

    def test_packages(self):
        supermin.environment(self.home, '/tmp', '/tmp')
        supermin.add_packages(self.home, 'more', ('one', 'two'))
        supermin.add_packages(self.home, 'more', ('later',))
        for name, content in (('flexmem', 'erofs-utils\n'),
                              ('more', 'one\ntwo\n')):
            with open(f'{self.parts}/zz-packages-{name}') as f:
                self.assertEqual(content, f.read())
        self.assertEqual(['cache', 'supermin.d'],
                         sorted(os.listdir(self.home)))

    def left_out(self):
        supermin.environment(self.home, '/tmp', '/tmp')
        with open(f'{self.parts}/zz-excludefiles-flexmem') as f:
            return f.read()

    def test_grammars_without_a_use(self):
        os.mkdir(self.lenses)
        for name, text in (
                ('fstab', 'module Fstab =\n let eol = Sep.tab | Nothing.x\n'),
                ('sep', 'module Sep =\n let tab = Util.del_str "\\t"\n'),
                ('util', 'module Util =\n'),
                ('test_fstab', 'module Test_Fstab = Fstab.lns\n'),
                ('ntp', 'module Ntp =\n let eol = Util.eol\n')):
            with open(os.path.join(self.lenses, f'{name}.aug'), 'w') as f:
                f.write(text)
        self.assertEqual(f'-{self.lenses}/ntp.aug\n'
                         f'-{self.lenses}/test_fstab.aug\n', self.left_out())
        path = f'{self.parts}/zz-excludefiles-flexmem'
        written = os.stat(path)
        self.left_out()
        self.assertEqual(written, os.stat(path))
        with open(os.path.join(self.lenses, 'new.aug'), 'w') as f:
            f.write('module New =\n')
        self.assertIn('/new.aug\n', self.left_out())

    def test_no_grammars(self):
        self.assertEqual('', self.left_out())

    def test_no_libguestfs(self):
        with mock.patch.object(supermin, '_SYSTEM_APPLIANCE', ('/none',)):
            e = self.assertRaises(exception.ProgramFailed,
                                  supermin.environment, self.home, '/tmp',
                                  '/tmp')
        self.assertIn('install guestfish', str(e))

    def test_all_of_the_system(self):
        for _start in range(2):
            self.assertEqual(self.expected('packages', 'packages-xfs'),
                             self.linked())
        self.add('packages-zfs')
        self.assertEqual(
            self.expected('packages', 'packages-xfs', 'packages-zfs'),
            self.linked())

    def test_a_package_that_was_removed(self):
        self.linked()
        os.unlink(os.path.join(self.system, 'packages-xfs'))
        self.assertEqual(self.expected('packages'), self.linked())

    def test_a_folder_that_moved(self):
        self.linked()
        os.rename(self.system, f'{self.system}-64')
        self.system = f'{self.system}-64'
        with mock.patch.object(supermin, '_SYSTEM_APPLIANCE',
                               (self.system,)):
            self.assertEqual(self.expected('packages', 'packages-xfs'),
                             self.linked())


class CleanTest(testtools.TestCase):

    def test_unfinished_ones_go(self):
        home = self.useFixture(fixtures.TempDir()).path
        folder = os.path.join(home, 'cache', '.guestfs-0')
        for name in ('appliance.d', 'appliance.d.abcd1234'):
            os.makedirs(os.path.join(folder, name))
        with open(os.path.join(folder, 'lock'), 'w') as f:
            script = ('import fcntl, time; fcntl.lockf(0, fcntl.LOCK_EX);'
                      ' print(flush=True); time.sleep(60)')
            making = subprocess.Popen([sys.executable, '-c', script], stdin=f,
                                      stdout=subprocess.PIPE)
        self.addCleanup(making.kill)
        making.stdout.read(1)
        supermin.clean(home)
        self.assertEqual(3, len(os.listdir(folder)))
        making.kill()
        making.communicate()
        supermin.clean(home)
        self.assertEqual(['appliance.d', 'lock'], sorted(os.listdir(folder)))
