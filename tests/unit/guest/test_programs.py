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

"""What the image's programs are told: /init's part of it, under busybox."""

import os
import subprocess

from nova_flexmem import guest
from tests.unit.guest import test_init

_PROGRAMS = os.path.join(os.path.dirname(guest.__file__), 'programs.sh')

_TELL = """
. {script}
is_systemd() {{ {systemd}; }}
RUN=/run DELTA=/run/flexmem/delta source=/dev/vda read_only={read_only}
writes={writes}
tell_programs
"""

_LINK = 'usr/local/sbin/grub-install'


class ProgramsTestCase(test_init.InitTestCase):

    def setUp(self):
        super().setUp()
        self.root = self.folder / 'root'
        for name in ('run/flexmem', 'usr/local/sbin', 'var/lib/dpkg'):
            (self.root / name).mkdir(parents=True)

    def tell(self, systemd=True, read_only='', writes='disk'):
        self.assertEqual('', self.run_script(_TELL.format(
            script=_PROGRAMS, systemd=str(systemd).lower(),
            read_only=read_only, writes=writes)))


class UnitsTest(ProgramsTestCase):

    def drop_ins(self):
        return sorted(path.parent.name for path in (
            self.root / 'run').glob('systemd/system/*.d/flexmem.conf'))

    def test_units(self):
        self.tell()
        self.assertEqual(
            ['cloud-init-local.service.d', 'cloud-init-main.service.d',
             'fstrim.service.d'], self.drop_ins())

    def test_cloud_init_is_told_once(self):
        self.tell()
        settings = self.folder / 'cloud-init/cloud.cfg'
        settings.parent.mkdir()
        settings.write_text('datasource_list: [ ConfigDrive, None ]\n')
        for name in 'local', 'main':
            unit = (self.root / 'run/systemd/system'
                    / f'cloud-init-{name}.service.d/flexmem.conf').read_text()
            section, command = unit.splitlines()
            self.assertEqual('[Service]', section)
            words = command.removeprefix("ExecStartPre=/bin/sh -c '")
            subprocess.run(['sh', '-ec', words.removesuffix("'").replace(
                '/run', str(self.folder))], check=True)
        self.assertEqual('datasource_list: [ ConfigDrive, None ]\n'
                         'resize_rootfs: false\n', settings.read_text())

    def test_without_a_disk(self):
        self.tell(writes='memory')
        self.assertNotIn('fstrim.service.d', self.drop_ins())

    def test_without_systemd(self):
        self.tell(systemd=False)
        self.assertFalse((self.root / 'run/systemd').exists())
        self.assertTrue((self.root / _LINK).is_symlink())


class GrubInstallTest(ProgramsTestCase):

    def stand_in(self, *words):
        """Return what the stand-in does: '' is nothing."""
        path = self.root / 'run/flexmem/grub-install'
        text = path.read_text().replace('exec /usr/sbin/grub-install',
                                        'exec echo real')
        return subprocess.run(['sh', '-c', text, 'grub-install', *words],
                              check=True, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True).stdout

    def test_link_and_program(self):
        for _start in range(2):
            self.tell()
        self.assertEqual('/run/flexmem/grub-install',
                         os.readlink(self.root / _LINK))
        self.assertTrue(os.access(self.root / 'run/flexmem/grub-install',
                                  os.X_OK))

    def test_the_root_disk_gets_nothing(self):
        self.tell()
        for words in ((), ('/dev/vda',),
                      ('--target=i386-pc', '--force', '/dev/vda'),
                      ('--target=x86_64-efi', '--no-nvram')):
            self.assertEqual('', self.stand_in(*words))

    def test_everything_else_is_done(self):
        self.tell()
        for words in (('/dev/vdb',), ('--target=i386-pc', '/dev/vdb'),
                      ('--version',), ('--boot-directory=/mnt', '/dev/vda'),
                      ('--root-directory', '/mnt')):
            self.assertEqual(f'real {" ".join(words)}\n',
                             self.stand_in(*words))

    def test_own_program_of_the_image(self):
        (self.root / _LINK).write_text('own')
        self.tell()
        self.assertEqual('own', (self.root / _LINK).read_text())

    def test_other_package_managers(self):
        (self.root / 'var/lib/dpkg').rmdir()
        self.tell()
        self.assertFalse((self.root / _LINK).is_symlink())

    def test_folder_that_leads_elsewhere(self):
        (self.root / 'usr/local/sbin').rmdir()
        (self.root / 'usr/local/sbin').symlink_to('/etc')
        self.tell()
        self.assertFalse((self.folder / 'root/etc').exists())

    def test_read_only(self):
        self.tell(read_only='yes')
        self.assertFalse((self.root / _LINK).is_symlink())
