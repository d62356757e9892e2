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

import testtools

from nova_flexmem.bench import compare
from nova_flexmem.bench import results
from nova_flexmem import exception


def _results(figures, bench='boot', **environment):
    return results.Results(bench, environment, {'starts': 3}, figures)


class CompareTest(testtools.TestCase):

    def test_rows(self):
        a = _results([
            results.Figure('boot', 's', {'stock': [4.0, 6.0, 5.0],
                                         'flexmem': [2.0], 'direct': []}),
            results.Figure('only here', 's', {'stock': [1.0]})])
        b = _results([
            results.Figure('boot', 's', {'stock': [10.0], 'direct': [1.0],
                                         'flexmem': [1.0, 1.0]}),
            results.Figure('boot', 'ms', {'stock': [1.0]})])
        self.assertEqual(
            [('boot', 's', 'stock', 5.0, '4.00..6.00', 10.0, '', 2.0),
             ('boot', 's', 'flexmem', 2.0, '', 1.0, '1.00..1.00', 0.5)],
            compare.rows(a, b))

    def test_nothing_in_common(self):
        a = _results([results.Figure('boot', 's', {'stock': [1.0]})])
        for b in (_results([]), _results(a.figures, bench='io')):
            self.assertRaises(exception.BenchFailed, compare.rows, a, b)

    def test_differences(self):
        a = _results([], kernel='6.1', QEMU='7.2.0', date='today')
        b = _results([], kernel='6.12', QEMU='7.2.0', date='tomorrow')
        self.assertEqual(['kernel: 6.1 in A, 6.12 in B'],
                         compare.differences(a, b))
