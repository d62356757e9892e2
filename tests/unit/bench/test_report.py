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
import testtools

from nova_flexmem.bench import report
from nova_flexmem.bench import results
from nova_flexmem import exception


def _memory(kind, count, ksm, **parts):
    return {'kind': kind, 'guests': count, 'ksm': ksm, 'ram': 300 << 20,
            'qemu': 50 << 20, 'ksm_pages': 0, 'base_mapped': 0,
            'page_structs': 0, **parts}


class ReportTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path

    def _write(self, found):
        path = report.write(found, os.path.join(self.folder, 'new'))
        self.assertEqual(found, results.read(os.path.dirname(path)))
        with open(path, encoding='utf-8') as f:
            return f.read()

    def test_whether_one_can_be_written(self):
        folder = os.path.join(self.folder, 'a', 'new')
        report.prepare(folder)
        self.assertEqual([], os.listdir(folder))
        path = os.path.join(self.folder, 'file')
        open(path, 'w').close()
        for each in (path, os.path.join(path, 'below')):
            self.assertIn(each, str(self.assertRaises(
                exception.BenchFailed, report.prepare, each)))

    def test_density(self):
        parts = {f'{name}, {state}': 10 << 20
                 for name in ('kernel', 'page cache', 'anonymous', 'free')
                 for state in ('private', 'merged')}
        page = self._write(results.Results(
            'density', {'kernel': '<6.1>'}, {'workload': 'idle'},
            [results.Figure('guest RAM', 'MiB', {'stock': [300.0]})],
            {'memory': [_memory(kind, count, 'off')
                        for kind in ('stock', 'flexmem') for count in (1, 3)]
             + [_memory('stock', 3, 'always', **parts)],
             'ksm': [{'kind': 'stock', 'guests': 3, 'seconds': 2.0,
                      'saved': 1, 'cpu_s': 0.5, 'private': 1 << 30}]}))
        self.assertIn('&lt;6.1&gt;', page)
        self.assertIn('300.0', page)
        self._check_pictures(page, 'by-count.png', 'breakdown.png', 'ksm.png')

    def test_density_without_ksm(self):
        page = self._write(results.Results(
            'density', {}, {}, [], {'memory': [_memory('stock', 1, 'off')],
                                    'ksm': []}))
        self._check_pictures(page, 'by-count.png')

    def test_bars(self):
        for bench in ('boot', 'fit'):
            page = self._write(results.Results(bench, {}, {}, [
                results.Figure('boot', 's', {'stock': [5.0, 6.0],
                                             'flexmem': [3.0]}),
                results.Figure('firmware', 's', {'flexmem': [0.0]})]))
            self._check_pictures(page, f'{bench}.png')

    def test_latencies_apart_from_speeds(self):
        page = self._write(results.Results('io', {}, {}, [
            results.Figure('touch', 'us', {'stock': [4.0],
                                           'flexmem': [40.0, 44.0]}),
            results.Figure('read', 'MiB/s', {'stock': [90.0],
                                             'flexmem': [900.0]})]))
        self._check_pictures(page, 'latencies.png', 'speeds.png')

    def _check_pictures(self, page, *names):
        for name in names:
            self.assertIn(f'src="{name}"', page)
            with open(os.path.join(self.folder, 'new', name), 'rb') as f:
                self.assertTrue(f.read().startswith(b'\x89PNG'))
        self.assertEqual(len(names), page.count('<img'))
