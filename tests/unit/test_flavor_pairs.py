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

import itertools

import testtools

from tests.flavors import domains
from tests.flavors import pairs


class PairsTest(testtools.TestCase):

    def test_all_pairs_that_are_possible(self):
        factors = {'a': (1, 2, 3), 'b': 'xyz', 'c': (True, False)}

        def possible(each):
            return (each['a'], each['b']) != (1, 'x')
        found = pairs.cover(factors, possible)
        covered = set().union(*map(pairs.pairs, found))
        wanted = set().union(*(
            pairs.pairs(each) for each in (
                dict(zip(factors, values))
                for values in itertools.product(*factors.values()))
            if possible(each)))
        self.assertEqual(wanted, covered)
        self.assertTrue(all(map(possible, found)))
        self.assertLess(len(found), 13)  # of 16 that are possible

    def test_flavors(self):
        found = pairs.cover(domains.FACTORS, domains.possible, seed=3)
        self.assertEqual(found, pairs.cover(domains.FACTORS,
                                            domains.possible, seed=3))
        self.assertLess(len(found), 30)
        covered = set().union(*map(pairs.pairs, found))
        for ram, drive in itertools.product(domains.FACTORS['ram_mib'],
                                            domains.FACTORS['config_drive']):
            self.assertIn({('ram_mib', ram), ('config_drive', drive)},
                          covered)
