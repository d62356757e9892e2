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

from nova_flexmem.host import hugepages


class HugePagesTest(testtools.TestCase):

    def _folder(self, enabled, missing):
        folder = self.useFixture(fixtures.TempDir()).path
        os.mkdir(os.path.join(folder, 'khugepaged'))
        for name, text in (('enabled', enabled),
                           (hugepages.MAX_FILLED, missing)):
            with open(os.path.join(folder, name), 'w') as f:
                f.write(f'{text}\n')
        return folder

    def test_as_linux_has_them(self):
        folder = self._folder('[always] madvise never', 511)
        self.assertEqual('always', hugepages.mode(folder))
        self.assertEqual(511, hugepages.max_filled_pages(folder))

    def test_qemu_asks_for_them(self):
        folder = self._folder('always [madvise] never', 64)
        self.assertEqual('madvise', hugepages.mode(folder))
        self.assertEqual(64, hugepages.max_filled_pages(folder))

    def test_nothing_is_filled_in(self):
        self.assertEqual(0, hugepages.max_filled_pages(
            self._folder('always [madvise] never', 0)))
        self.assertEqual(0, hugepages.max_filled_pages(
            self._folder('always madvise [never]', 511)))

    def test_a_kernel_without_them(self):
        folder = self.useFixture(fixtures.TempDir()).path
        self.assertEqual('never', hugepages.mode(folder))
        self.assertEqual(0, hugepages.max_filled_pages(folder))
