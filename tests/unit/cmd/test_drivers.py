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
import stat

from nova_flexmem.cmd import drivers
from tests.unit.build import driversamples
from tests.unit.cmd import test_image

_RELEASE = '6.8.0-51-generic'


class DriversTest(test_image.ImageTest):

    def write_deb(self, version='6.8.0-51.52'):
        path = os.path.join(self.folder, 'extra.deb')
        with open(path, 'wb') as f:
            f.write(driversamples.deb(
                f'linux-modules-extra-{_RELEASE}', version,
                {f'/lib/modules/{_RELEASE}/kernel/{name}.ko':
                 driversamples.module(_RELEASE)
                 for name in ('nfit', 'nd_pmem', 'unrelated')}))
        return path

    def test_import_list_and_remove(self):
        row = {'Driver pack': f'{_RELEASE}/6.8.0-51.52',
               'Package': f'linux-modules-extra-{_RELEASE}',
               'Modules': 'nd_pmem nfit', 'Files': 'extra.deb'}
        self.assertEqual([row], self.run_json('drivers', 'import',
                                              self.write_deb()))
        self.assertEqual([row], self.run_json('drivers', 'list'))
        out, _err = self.run_command('drivers', 'remove', row['Driver pack'])
        self.assertEqual(f'{row["Driver pack"]}: removed\n', out)
        self.assertEqual([], self.run_json('drivers', 'list'))

    def test_remove_all_of_a_release(self):
        for version in ('1', '2'):
            self.run_command('drivers', 'import', self.write_deb(version))
        self.run_command('drivers', 'remove', _RELEASE)
        self.assertEqual([], self.run_json('drivers', 'list'))
        self.assertIn('no such driver pack',
                      self.fail_command('drivers', 'remove', _RELEASE))

    def test_file_that_is_no_package(self):
        path = os.path.join(self.folder, 'text')
        with open(path, 'w') as f:
            f.write('text')
        self.assertIn(f'{path}: neither a .deb nor an .rpm package',
                      self.fail_command('drivers', 'import', path))
        self.fail_command('drivers', 'import', f'{path}.gone')

    def apt(self, script):
        """Have another apt-get."""
        path = os.path.join(self.folder, 'apt-get')
        with open(path, 'w') as f:
            f.write(f'#!/bin/sh\n{script}\n')
        os.chmod(path, stat.S_IRWXU)
        self.patch(drivers, '_DOWNLOAD', (path, 'download'))

    def test_fetch(self):
        self.apt(f'[ "$*" = "download linux-image-{_RELEASE}" ] &&'
                 f' cp {self.write_deb()} .')
        row, = self.run_json('drivers', 'fetch', _RELEASE)
        self.assertEqual('nd_pmem nfit', row['Modules'])

    def test_fetch_what_apt_does_not_have(self):
        self.apt('echo "E: Unable to locate package" >&2; exit 100')
        error = self.fail_command('drivers', 'fetch', _RELEASE)
        for words in (f'linux-modules-extra-{_RELEASE}', 'Unable to locate',
                      'drivers import'):
            self.assertIn(words, error)

    def test_fetch_of_names_that_are_no_release(self):
        for name in ('x', '6.1 y', '6/../1', '6;x'):
            self.assertIn('no release of a kernel',
                          self.fail_command('drivers', 'fetch', name))
