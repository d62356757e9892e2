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

from nova_flexmem.bench import bootphases
from nova_flexmem import exception

#: What guests of Debian 12 said.
_STOCK = ('UserspaceTimestampMonotonic=10010740\n'
          'ActiveEnterTimestampMonotonic=36753888\n'
          '[    2.915604] Run /init as init process\n')
_FLEXMEM = ('UserspaceTimestampMonotonic=4672807\n'
            'ActiveEnterTimestampMonotonic=30469357\n'
            '[    2.498178] Run /init as init process\n')


class BootPhasesTest(testtools.TestCase):

    def _assert_phases(self, expected, output, total_s):
        found = bootphases.parse(output, total_s)
        for phase, value in zip(('firmware', 'kernel', 'initramfs',
                                 'userspace'), expected):
            self.assertAlmostEqual(value, getattr(found, phase), 5)

    def test_stock(self):
        self._assert_phases((13.447699, 2.915604, 7.095136, 26.743148),
                            _STOCK, 50.201587)

    def test_flexmem(self):
        self._assert_phases((1.034147, 2.498178, 2.174629, 25.796550),
                            _FLEXMEM.replace('\n', '\r\n'), 31.503504)

    def test_guest_that_lacks_something(self):
        for line in _STOCK.splitlines(keepends=True):
            self.assertRaises(exception.BenchFailed, bootphases.parse,
                              _STOCK.replace(line, ''), 50.0)
        error = self.assertRaises(
            exception.BenchFailed, bootphases.parse,
            'dmesg: not found\n', 50.0)
        self.assertIn('dmesg: not found', str(error))
