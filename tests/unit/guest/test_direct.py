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

"""What lies directly on the delta: /init's part of it, under busybox."""

import os
import shutil
import stat
import subprocess

from nova_flexmem import guest
from tests.unit.guest import test_init

_DIRECT = os.path.join(os.path.dirname(guest.__file__), 'direct.sh')

#: In the place of what needs root: what would be mounted is printed.
_PRETEND = """
. {script}
chroot() {{ shift; "$1" -a "$ROOT$3" "$ROOT$4"; }}
chown() {{ echo "chown $1 ${{2#"$ROOT"}}" >> owners; }}
mount() {{ echo "$2 ${{3#"$ROOT"}}" | sed "s,$ROOT,,g"; }}
is_systemd() {{ {systemd}; }}
LOWER=/lower DELTA=/delta RUN=/run
"""


class DirectTestCase(test_init.InitTestCase):

    def setUp(self):
        super().setUp()
        (self.folder / 'bin/cp').symlink_to(test_init.initramfs.BUSYBOX)
        self.root = self.folder / 'root'
        (self.root / 'delta').mkdir(parents=True)

    def run_direct(self, script, systemd=False):
        return self.run_script(_PRETEND.format(
            script=_DIRECT, systemd=str(systemd).lower()) + script)

    def mounted(self, direct='', more=''):
        """Return where something is mounted, and what /init says."""
        lines = self.run_direct(
            f'direct="{direct}"\n{more}\nmount_direct_folders').splitlines()
        return ([line.split()[1] for line in lines
                 if line.startswith('/delta/direct')],
                [line for line in lines if line.startswith('flexmem: ')])


class FoldersTest(DirectTestCase):

    def test_those_of_the_command_line(self):
        self.assertEqual(([], []), self.mounted())
        self.assertEqual((['/a', '/b/c'], []), self.mounted('/a,/b/c'))
        self.assertTrue((self.root / 'delta/direct/b/c').is_dir())
        self.assertFalse((self.root / 'delta/direct.list').exists())

    def test_globs_stay(self):
        (self.root / 'x').mkdir()
        self.assertEqual((['/*', '/?'], []), self.mounted('/*,/?'))

    def test_content_comes_along_once(self):
        self.write('root/srv/file', 'of the image')
        for _start in range(2):
            self.assertEqual((['/srv'], []), self.mounted('/srv'))
            copy = self.root / 'delta/direct/srv/file'
            self.assertTrue(copy.exists())
            self.write('root/srv/later', 'on the overlay')
        self.assertFalse((self.root / 'delta/direct/srv/later').exists())

    def test_a_link(self):
        (self.root / 'there').mkdir()
        (self.root / 'srv').symlink_to('there')
        folders, said = self.mounted('/srv')
        self.assertEqual([], folders)
        self.assertIn('/srv is a symbolic link', said[0])

    def test_a_delta_that_cannot_be_written(self):
        (self.root / 'delta/direct/srv').mkdir(parents=True)
        self.assertEqual((['/srv'], []),
                         self.mounted('/srv,/other', 'read_only=yes'))
        self.assertFalse((self.root / 'other').exists())

    def test_owners_of_new_folders(self):
        (self.root / 'home/user').mkdir(parents=True)
        self.mounted('/home/user/.local/share')
        owner = os.stat(self.root / 'home/user')
        lines = (self.folder / 'owners').read_text().splitlines()
        self.assertEqual(
            [f'chown {owner.st_uid}:{owner.st_gid} {path}' for path in (
                '/home/user/.local', '/home/user/.local/share',
                '/delta/direct/home/user/.local/share')], lines)


class OwnFoldersTest(DirectTestCase):
    """Those of /etc/flexmem/direct."""

    def own(self, text, direct='', more=''):
        self.write('root/etc/flexmem/direct', text)
        return self.mounted(direct, more)

    def noted(self):
        path = self.root / 'delta/direct.list'
        return path.read_text().splitlines() if path.exists() else []

    def test_lines(self):
        self.assertEqual(
            (['/a', '/srv/b', '/c:+@=%_-.d', '/last'], []),
            self.own('/a\n# note\n\n  /srv/b \t\n/c:+@=%_-.d # why\n/last'))
        self.assertEqual(['/a', '/srv/b', '/c:+@=%_-.d', '/last'],
                         self.noted())

    def test_each_is_noted_once(self):
        for _start in range(3):
            self.assertEqual((['/a', '/b'], []), self.own('/a\n/b\n'))
        self.assertEqual(['/a', '/b'], self.noted())

    def test_what_is_no_path(self):
        for line in ('a', './a', '/a b', '/a/../b', '/..', '/a/', '/', '//a',
                     '/a/./b', "/a'b", '/a"b', '/a,b', '/$(reboot)', '/a;b',
                     '/[ab]', '/?', '\\052', '/a\\b', '/\xe4'):
            folders, said = self.own(f'{line}\n/good\n')
            self.assertEqual(['/good'], folders, line)
            self.assertEqual(1, len(said), line)
            self.assertIn(line[:1], said[0])

    def test_what_is_read_too_early(self):
        for line in ('/etc', '/etc/flexmem', '/boot', '/usr/local', '/lib64',
                     '/lib/modules', '/dev/shm', '/run/x', '/proc', '/b*n',
                     '/sbin'):
            (self.root / 'bin').mkdir(exist_ok=True)
            folders, said = self.own(f'{line}\n')
            self.assertEqual([], folders, line)
            self.assertEqual(1, len(said), line)

    def test_every_home(self):
        for name in ('one', 'two', 'od d', 'x;y'):
            (self.root / 'home' / name).mkdir(parents=True)
        (self.root / 'home/link').symlink_to('one')
        self.write('root/home/file', '')
        path = '.local/share/containers'
        self.assertEqual(
            ([f'/home/one/{path}', f'/home/two/{path}'], []),
            self.own(f'/home/*/{path}\n'))

    def test_other_patterns(self):
        for name in ('data1', 'data2', 'other', 'data1/x', 'data2/x'):
            (self.root / name).mkdir()
        self.assertEqual((['/data1', '/data2'], []), self.own('/data*\n'))
        shutil.rmtree(self.root / 'delta/direct')
        (self.root / 'delta/direct.list').unlink()
        self.assertEqual((['/data1/x'], []), self.own('/da*1/*\n'))
        self.assertEqual(([], []), self.own('/none*/x\n'))

    def test_a_folder_above_another(self):
        """It would hide what is in it and did not come along."""
        self.write('root/var/lib/file', '')
        self.assertEqual((['/var/lib/docker'], []),
                         self.own('', '/var/lib/docker'))
        folders, said = self.own('/var/lib\n', '/var/lib/docker')
        self.assertEqual(['/var/lib/docker'], folders)
        self.assertIn('/var/lib is in a folder', said[0])
        self.assertEqual([], self.noted())

    def test_one_of_the_host_as_well(self):
        for _start in range(2):
            folders, said = self.own('/srv\n', '/srv')
            self.assertEqual((['/srv'], []), (folders, said))

    def test_a_link_in_the_place_of_the_file(self):
        self.write('secret', '/a\n')
        (self.root / 'etc/flexmem').mkdir(parents=True)
        (self.root / 'etc/flexmem/direct').symlink_to('../../../secret')
        self.assertEqual(([], []), self.mounted())


class UnitsTest(DirectTestCase):

    def test_names(self):
        if not shutil.which('systemd-escape'):
            self.skipTest('systemd-escape is not installed')
        paths = ('/a', '/var/lib/docker', '/.hidden/.x', '/a-b/c_d',
                 '/c:+@=%_-.d', '/home/user/.local/share/containers', '/-')
        said = self.run_direct('\n'.join(f"unit_name '{path}'"
                                         for path in paths))
        escaped = subprocess.run(
            ['systemd-escape', '--path', *paths], check=True,
            stdout=subprocess.PIPE, text=True).stdout
        self.assertEqual(escaped.split(), said.split())

    def test_units(self):
        self.run_direct('direct=/a%b,/srv\nmount_direct_folders',
                        systemd=True)
        units = self.root / 'run/systemd/system'
        text = (units / r'a\x25b.mount').read_text()
        self.assertIn('\nWhat=/delta/direct/a%%b\nWhere=/a%%b\n', text)
        wanted = units / 'local-fs.target.wants/srv.mount'
        self.assertTrue(stat.S_ISREG(os.stat(wanted).st_mode))
        for name in ('delta', 'lower'):
            self.assertIn('DefaultDependencies=no', (
                units / f'{name}.mount.d/flexmem.conf').read_text())

    def test_no_units_without_systemd(self):
        self.run_direct('direct=/srv\nmount_direct_folders')
        self.assertFalse((self.root / 'run').exists())
