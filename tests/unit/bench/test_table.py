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

from nova_flexmem.bench import results
from nova_flexmem.bench import table


class TableTest(testtools.TestCase):

    def test_table(self):
        found = results.Results('boot', {}, {}, [
            results.Figure('boot', 's', {'flexmem': [2.04, 3.0, 2.5],
                                         'stock': [5.0]}),
            results.Figure('merged', 'MiB', {'flexmem': [0.123]}),
            results.Figure('error', 'MiB', {'flexmem': [2.0], 'stock': [4.0]},
                           compared=False)])
        self.assertEqual(
            ('Figure', 'Unit', 'stock', 'flexmem', 'flexmem range',
             'flexmem/stock'), table.columns(found))
        self.assertEqual(
            [('boot', 's', 5.0, 2.5, '2.0..3.0', 0.5),
             ('merged', 'MiB', None, 0.12, None, None),
             ('error', 'MiB', 4.0, 2.0, None, None)],
            table.rows(found))
