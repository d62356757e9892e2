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

"""nova-flexmem host, as it is run: tables, programs' formats, metrics."""

import contextlib
import io
import json
import os

import fixtures
from prometheus_client import parser
import testtools

from nova_flexmem.cmd import main
from nova_flexmem.host import accounting
from nova_flexmem.host import working_set
from tests.unit.host import test_exposition

MIB = 1 << 20

_KEY = '0' * 32


class HostMemoryTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.patch(working_set, 'measure',
                   lambda wait_s: {11: 6 * MIB, 12: 7 * MIB})
        self.patch(accounting, 'measure', self._measured)

    def _measured(self, _store, used=None):
        used = used or {}
        instances = [
            test_exposition.instance(base_used_bytes=used.get(11)),
            test_exposition.instance(
                pid=12, name='instance-2', base_used_bytes=used.get(12),
                guest_cache_bytes=2 * MIB)]
        stock = test_exposition.instance(
            pid=13, name='', base=None, base_mapped_bytes=0,
            page_structs_bytes=0)
        return accounting.HostMemory(
            [accounting.BaseMemory(_KEY, 16 * MIB, 9 * MIB, instances),
             accounting.BaseMemory('1' * 32, 4 * MIB, 0, [])], [stock])

    def _run(self, *words, status=0):
        self.useFixture(fixtures.FakeLogger())
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            returned = main.main([f'--store={self.folder}/store', 'host',
                                  'memory', *words])
        self.assertEqual(status, returned, err.getvalue())
        self.assertNotIn('Traceback', err.getvalue())
        # root runs it, and the store is not root's
        self.assertFalse(os.path.exists(f'{self.folder}/store'))
        return out.getvalue() or err.getvalue()

    def test_rows_for_programs(self):
        of_base, first, second, unused, stock, host = json.loads(
            self._run('-f', 'json'))
        self.assertEqual(
            ['base', 'instance', 'instance', 'base', 'instance', 'host'],
            [row['kind'] for row in (of_base, first, second, unused, stock,
                                     host)])
        self.assertEqual((_KEY, None), (of_base['base'], of_base['pid']))
        self.assertEqual(16 * MIB, of_base['private_anonymous_bytes'])
        self.assertEqual(9 * MIB, of_base['base_mapped_bytes'])
        self.assertEqual(16 * MIB, of_base['base_resident_bytes'])
        self.assertEqual(5 * MIB, of_base['saved_at_most_bytes'])
        self.assertIsNone(of_base['saved_at_least_bytes'])
        self.assertIsNone(of_base['guest_page_cache_bytes'])
        self.assertEqual((11, 'instance-1', 'some-uuid'), (
            first['pid'], first['instance'], first['uuid']))
        self.assertEqual(7 * MIB, first['base_mapped_bytes'])
        self.assertEqual(2 * MIB, second['guest_page_cache_bytes'])
        self.assertEqual(0, unused['saved_at_most_bytes'])
        self.assertEqual((None, None), (stock['base'],
                                        stock['base_mapped_bytes']))
        self.assertEqual(24 * MIB, host['private_anonymous_bytes'])
        self.assertEqual(20 * MIB, host['base_resident_bytes'])
        self.assertEqual(5 * MIB, host['saved_at_most_bytes'])

    def test_working_set(self):
        of_base, first, *_, host = json.loads(
            self._run('-f', 'json', '--working-set', '1'))
        self.assertEqual(6 * MIB, first['base_used_bytes'])
        self.assertEqual(4 * MIB, of_base['saved_at_least_bytes'])
        self.assertEqual(4 * MIB, host['saved_at_least_bytes'])
        self.assertIn('seconds', self._run('--working-set', '0', status=1))

    def test_table_has_mib(self):
        lines = [[cell.strip() for cell in line.split('|')[1:-1]]
                 for line in self._run().splitlines()
                 if line.startswith('|')]
        first = dict(zip(lines[0], lines[2]))
        self.assertEqual(('00000000', 'instance-1', '11', '8.0', '7.0', ''), (
            first['Base'], first['Instance'], first['PID'],
            first['Private MiB'], first['Base mapped MiB'],
            first['Guest cache MiB']))

    def test_metrics(self):
        printed = self._run('--prometheus', '-')
        names = [family.name for family in
                 parser.text_string_to_metric_families(printed)]
        self.assertIn('nova_flexmem_base_saved_at_most_bytes', names)
        path = f'{self.folder}/flexmem.prom'
        self._run('--prometheus', path)
        with open(path) as f:
            self.assertEqual(printed, f.read())
        self.assertIn('nowhere', self._run('--prometheus',
                                           f'{self.folder}/nowhere/file',
                                           status=1))
