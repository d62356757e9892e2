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

from nova_flexmem.bench import results
from nova_flexmem import exception


class ResultsTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path

    def test_written_and_read(self):
        figure = results.Figure('a size', 'MiB', {'stock': [4.0, 1.0, 2.0],
                                                  'flexmem': [1.0]})
        written = results.Results('density', {'kernel': '6.1'}, {'n': 3},
                                  [figure], {'over time': [{'s': 1}]})
        results.write(written, self.folder)
        self.assertEqual([results.NAME], os.listdir(self.folder))
        self.assertEqual(written, results.read(self.folder))

    def test_figure(self):
        figure = results.Figure('a size', 'MiB', {
            'stock': [4.0, 1.0, 2.0], 'flexmem': [1.0], 'nothing': [0.0]})
        self.assertEqual(2.0, figure.median('stock'))
        self.assertEqual(0.5, figure.ratio('flexmem', 'stock'))
        self.assertIsNone(figure.median('other'))
        self.assertIsNone(figure.ratio('other', 'stock'))
        self.assertIsNone(figure.ratio('stock', 'nothing'))

    def test_no_results(self):
        path = os.path.join(self.folder, 'other.json')
        for text in ('', '[]', '{}', '{"format": 2}',
                     '{"format": 1, "figures": [{"colour": "red"}]}'):
            with open(path, 'w') as f:
                f.write(text)
            e = self.assertRaises(exception.BenchFailed, results.read, path)
            self.assertIn(path, str(e))
        self.assertRaises(exception.BenchFailed, results.read, self.folder)
