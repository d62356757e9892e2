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
import random

import testtools

from nova_flexmem.image import releases

#: The newest first, by the package manager that names them.
_RPM = (
    ('5.14.0-611.5.1.el9_7.x86_64', '5.14.0-611.el9.x86_64',
     '5.14.0-570.12.1.el9_6.x86_64', '5.14.0-70.el9.x86_64'),
    ('4.18.0-553.el8_10.x86_64', '4.18.0-477.27.1.el8_8.x86_64',
     '4.18.0-80.el8.x86_64'),
    ('6.12.0-124.8.1.el10_1.x86_64', '6.12.0-55.el10.x86_64',
     '6.12.0-0.rc3.10.el10.x86_64'),
    ('6.17.4-200.fc42.x86_64', '6.17.4-100.fc41.x86_64',
     '6.9.12-200.fc40.x86_64', '6.17.4-200.fc42.x86_64+debug'),
    ('5.14.0-611.el9.x86_64', '5.14.0-611.rt14.396.el9.x86_64',
     '5.14.0-570.el9.x86_64+rt-debug'),
    ('6.4.0-150600.23.33-default', '6.4.0-150600.23.9-default',
     '6.4.0-150600.10.3-rt'),
    ('5.15.0-310.184.5.2.el9uek.x86_64', '5.15.0-9.96.2.el9uek.x86_64'),
    ('6.18.1-arch1-2', '6.18.1-arch1-1', '6.9.1-arch1-1'),
    ('6.12.10-0-virt', '6.12.9-0-virt', '6.6.31-0-virt'),
)
_DPKG = (
    ('6.1.0-56-cloud-amd64', '6.1.0-9-cloud-amd64', '6.1.0-56-rt-amd64'),
    ('6.1.0-10-amd64', '6.1.0-9-amd64', '6.1.0-9', '5.10.0-30-amd64'),
    ('6.12.57+deb13-amd64', '6.12.48+deb13-amd64', '6.12.9+deb13-amd64'),
    ('6.8.0-101-generic', '6.8.0-51-generic', '5.15.0-100-generic'),
    ('6.12.0', '6.12.0~1-amd64', '6.12.0-rc7-amd64', '6.12~rc2-amd64'),
    ('5.4.0-216-generic', '5.4.0-1009-kvm_x', '5.4.0-26-generic')[::2],
)


class NewestFirstTest(testtools.TestCase):

    def test_each_order(self):
        chosen = random.Random(1)
        for order, groups in ((releases.RPM, _RPM), (releases.DPKG, _DPKG)):
            for group in groups:
                mixed = [*group]
                chosen.shuffle(mixed)
                self.assertEqual([*group], releases.newest_first(mixed, order))

    def test_the_orders_differ(self):
        pair = ['5.14.0-611.el9', '5.14.0-611.5.1.el9_7']
        self.assertEqual(pair[::-1],
                         releases.newest_first(pair, releases.RPM))
        self.assertEqual(pair, releases.newest_first(pair, releases.DPKG))

    def test_the_same_whatever_comes_first(self):
        """Names that compare as equal have an order nevertheless."""
        names = ['6.1.0-1', '6.1.0_1', '6.1.0+1', '6.1.0.1']
        for order in (releases.RPM, releases.DPKG):
            self.assertEqual(1, len({
                tuple(releases.newest_first(mixed, order))
                for mixed in itertools.permutations(names)}))

    def test_special_ones(self):
        for name in ('6.1.0+debug', '6.1.0-rc3', '6.1-rc3-amd64', '6.1rc2',
                     '0-rescue-8d3f', '6.1.0-rt-amd64', '6.1.0-12.rt7.el9',
                     '6.1.0-amd64-dbg', '5.14.0-1.el9.x86_64+rt'):
            self.assertTrue(releases.is_special(name), name)
        for name in ('6.1.0-arch1-1', '6.1.0-certified', '6.1.0-art',
                     '6.1.0-cloud-amd64', '6.1.0-archrt', '6.8.0-debugger'):
            self.assertFalse(releases.is_special(name), name)

    def test_names_that_are_no_releases(self):
        self.assertEqual(['6.1'], releases.newest_first(
            ['extramodules', '6.1', '..', '6.1\n', '', '6\u00b2'],
            releases.RPM))

    def test_very_many(self):
        names = [f'6.1.{n}' for n in range(50000)]
        for order in (releases.RPM, releases.DPKG):
            self.assertEqual('6.1.49999',
                             releases.newest_first(names, order)[0])
