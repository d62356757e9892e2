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

import fixtures
from oslo_config import cfg
from oslo_reports import guru_meditation_report
import testtools

from nova_flexmem import conf as flexmem_conf
from nova_flexmem.host import preflight
from nova_flexmem.host import report
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore
from tests.unit.image import samples

_A = 'a' * 32
_B = 'b' * 32
_USER = '5f0b9d6e-8f0e-4b6c-a1f4-3b8a6d3c2e10'


class _Version:
    """What a service tells the report of itself."""

    vendor_string = product_string = version_string_with_package = (
        lambda _self: 'test')


class ReportTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.useFixture(fixtures.TempDir()).path,
                                 'store')
        self.conf = cfg.ConfigOpts()
        flexmem_conf.register_opts(self.conf)
        self.conf.set_override('store_path', self.path, group='flexmem')
        self.findings = []
        self.useFixture(fixtures.MonkeyPatch(
            'oslo_reports.guru_meditation_report.TextGuruMeditation'
            '.persistent_sections', []))
        report.register(self.conf, lambda: self.findings)

    def section(self):
        """Return the lines of the section in a whole report."""
        lines = guru_meditation_report.TextGuruMeditation(
            _Version()).run().splitlines()
        titles = [number for number, line in enumerate(lines)
                  if line.strip('= ') == report.TITLE]
        self.assertEqual(1, len(titles))
        return [line.rstrip() for line in lines[titles[0] + 2:]
                if line.rstrip()]

    def test_new_host(self):
        self.assertEqual([
            'preflight = not done yet', 'store =', '  bases =',
            '  limit = none', f'  path = {self.path}', '  size = 0 MiB'],
            self.section())

    def test_bases(self):
        store = basestore.Store(self.path)
        for key in (_A, _B):
            samples.publish(store, key)
        store.set_name('an-image', _A)
        store.use(_A, _USER)
        os.utime(os.path.join(store.folder('uses'), _B), (0, 0))
        self.conf.set_override('max_store_size_gib', 7, group='flexmem')
        lines = self.section()
        self.assertIn('  limit = 7 GiB', lines)
        self.assertIn('  size = 8 MiB', lines)
        start = lines.index(f'    {_A} =')
        self.assertEqual([
            '      names = an-image', '      rootfs = erofs',
            '      size = 4 MiB', '      system = Debian GNU/Linux 12',
            f'      users = {_USER}', f'    {_B} =',
            '      names = none', '      rootfs = erofs',
            '      size = 4 MiB', '      system = Debian GNU/Linux 12'],
            lines[start + 1:start + 11])
        unused = lines[start + 11]
        self.assertTrue(unused.startswith('      unused for = '), unused)
        self.assertLess(10 ** 9, int(unused.split()[-2]))

    def test_damage_hides_nothing_else(self):
        store = basestore.Store(self.path)
        for key in (_A, _B):
            samples.publish(store, key)
        samples.truncate(store, _A, basefiles.MANIFEST, 10)
        lines = self.section()
        error = lines[lines.index(f'    {_A} =') + 1]
        self.assertIn('error = ', error)
        self.assertIn('manifest.json', error)
        self.assertIn(f'    {_B} =', lines)
        self.assertIn('  size = 8 MiB', lines)

    def test_store_that_is_a_file(self):
        open(self.path, 'w').close()
        error = [line for line in self.section() if 'error' in line]
        self.assertEqual(1, len(error))
        self.assertIn(self.path, error[0])

    def test_findings_of_the_moment(self):
        self.section()
        self.findings = [preflight.Finding('device', True, 'taken'),
                         preflight.Finding('store', False, 'on nfs; move it')]
        lines = self.section()
        self.assertIn('  device = ok: taken', lines)
        self.assertIn('  store = FAILED: on nfs; move it', lines)
