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

"""The demo's table, verdict and picture."""

import testtools

from nova_flexmem.cmd import cells


class ShownTest(testtools.TestCase):

    def test_a_dash_for_people_and_none_for_programs(self):
        rows = [('memory', 0, None), ('time', 1.5, '')]
        self.assertEqual([('memory', 0, '-'), ('time', 1.5, '')],
                         cells.shown(rows, 'table'))
        for formatter in ('json', 'csv', 'value', 'yaml'):
            self.assertEqual(rows, cells.shown(rows, formatter))
