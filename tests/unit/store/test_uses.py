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

import mmap
import os
import time

import fixtures
import testtools

from nova_flexmem import hostboot
from nova_flexmem.store import uses

_KEY = 'k' * 32


class UsesTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.uses = uses.Uses(self.folder)

    def test_users(self):
        self.assertEqual([], self.uses.users(_KEY))
        for user in ('b', 'a', 'b'):
            self.uses.add(_KEY, user)
        self.assertEqual(['a', 'b'], self.uses.users(_KEY))
        self.assertEqual(['a', 'b'], uses.Uses(self.folder).users(_KEY))
        self.assertEqual([], self.uses.users('x' * 32))
        self.uses.discard(_KEY, 'b')
        self.uses.discard(_KEY, 'b')
        self.uses.discard('x' * 32, 'b')
        self.assertEqual(['a'], self.uses.users(_KEY))

    def test_time_out_of_use(self):
        self.uses.add(_KEY, 'a')
        os.utime(os.path.join(self.folder, _KEY), (0, 0))
        self.assertGreater(self.uses.unused_s(_KEY), 1e9)
        self.uses.discard(_KEY, 'a')
        self.assertLess(self.uses.unused_s(_KEY), 60)

    def test_clock_that_went_back(self):
        self.uses.begin(_KEY)
        os.utime(os.path.join(self.folder, _KEY), (1e11, 1e11))
        self.assertEqual(0.0, self.uses.unused_s(_KEY))

    def test_clock_that_is_set(self):
        """Neither ages a base of this boot nor keeps it young."""
        self.uses.add(_KEY, 'a')
        self.uses.discard(_KEY, 'a')
        now_s = time.time()
        for years in (10, -10):
            self.patch(time, 'time', lambda: now_s + years * 365 * 86400)
            self.assertLess(self.uses.unused_s(_KEY), 60)

    def test_clock_that_was_ahead_before_the_boot(self):
        """The base has been out of use since the boot at least."""
        self.uses.begin(_KEY)
        self.patch(hostboot, 'boot_id', lambda: 'another')
        now_s, up_s = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
        self.patch(time, 'time', lambda: now_s - 1e8)
        self.assertGreaterEqual(self.uses.unused_s(_KEY), up_s)
        self.patch(time, 'time', lambda: now_s + 1e8)
        self.assertGreater(self.uses.unused_s(_KEY), 9e7)

    def test_clock_record_that_is_torn_or_of_another_change(self):
        self.uses.begin(_KEY)
        path = os.path.join(self.folder, _KEY)
        now_s = time.time()
        self.patch(time, 'time', lambda: now_s + 1e6)
        for missing_bytes in range(1, os.path.getsize(f'{path}.clock')):
            self.uses.begin(_KEY)  # the times in it are not always as long
            os.truncate(f'{path}.clock', max(
                0, os.path.getsize(f'{path}.clock') - missing_bytes))
            self.assertGreater(self.uses.unused_s(_KEY), 9e5)
        self.uses.begin(_KEY)
        os.utime(path, (0, 0))
        self.assertGreater(self.uses.unused_s(_KEY), 1e9)

    def test_clock_record_on_a_full_disk(self):
        """A base can be given back; its file may be there or not."""
        self.uses.add(_KEY, 'a')
        os.unlink(os.path.join(self.folder, f'{_KEY}.clock'))
        os.mkdir(os.path.join(self.folder, f'{_KEY}.clock'))
        self.uses.discard(_KEY, 'a')
        self.assertEqual([], self.uses.users(_KEY))
        self.assertLess(self.uses.unused_s(_KEY), 60)

    def test_begin_after_a_build_that_was_killed(self):
        self.uses.begin(_KEY)
        os.utime(os.path.join(self.folder, _KEY), (0, 0))
        self.uses.begin(_KEY)
        self.assertLess(self.uses.unused_s(_KEY), 60)

    def test_end_keeps_what_is_in_use(self):
        self.uses.add(_KEY, 'a')
        self.assertRaises(OSError, self.uses.end, _KEY)
        self.uses.discard(_KEY, 'a')
        self.uses.end(_KEY)
        self.uses.end(_KEY)
        self.assertEqual([], os.listdir(self.folder))

    def test_users_that_are_no_file_names(self):
        for user in ('', '.', '..', '../x', '/etc/passwd', 'a b', 'a' * 300,
                     'a\n'):
            self.assertRaises(ValueError, self.uses.add, _KEY, user)
        self.assertEqual([], self.uses.users(_KEY))


class MappingTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(self.folder, 'root.pmem')
        with open(self.path, 'wb') as f:
            f.write(bytes(8192))

    def _map(self):
        with open(self.path, 'rb') as f:
            mapped = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
        self.addCleanup(mapped.close)
        return mapped

    def test_mapped_and_no_longer(self):
        self.assertEqual({self.path: []}, uses.mapping([self.path]))
        mapped = self._map()
        self.assertEqual({self.path: [str(os.getpid())]},
                         uses.mapping([self.path]))
        mapped.close()
        self.assertEqual({self.path: []}, uses.mapping([self.path]))

    def test_through_a_symbolic_link(self):
        """The store's folder may be a link to a larger disk."""
        link = os.path.join(self.folder, 'link')
        os.symlink(self.folder, link)
        self._map()
        path = os.path.join(link, 'root.pmem')
        self.assertEqual({path: [str(os.getpid())]}, uses.mapping([path]))

    def test_several(self):
        others = [os.path.join(self.folder, name) for name in ('one', 'two')]
        for path in others:
            with open(path, 'wb') as f:
                f.write(bytes(8192))
        self._map()
        self.assertEqual({others[0]: [], self.path: [str(os.getpid())],
                          others[1]: []},
                         uses.mapping([others[0], self.path, others[1]]))

    def test_not_there(self):
        path = os.path.join(self.folder, 'x')
        self.assertEqual({path: []}, uses.mapping([path]))
