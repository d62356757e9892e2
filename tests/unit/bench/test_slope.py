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

from nova_flexmem.bench import slope


class SlopeTest(testtools.TestCase):

    def test_exact_line(self):
        found = slope.fit([(1, 110), (2, 210), (4, 410)])
        self.assertAlmostEqual(100, found.value)
        self.assertAlmostEqual(0, found.error)

    def test_error(self):
        # worked out by hand: residuals 1/3, -2/3, 1/3 over 2
        found = slope.fit([(1, 1), (2, 1), (3, 3)])
        self.assertAlmostEqual(1, found.value)
        self.assertAlmostEqual((2 / 3 / 1 / 2) ** 0.5, found.error)

    def test_two_points(self):
        self.assertEqual(slope.Slope(2, None), slope.fit([(1, 3), (2, 5)]))
