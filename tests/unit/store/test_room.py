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

from nova_flexmem import exception
from nova_flexmem.store import basestore
from nova_flexmem.store import room
from tests.unit.image import samples

_KEYS = [digit * 32 for digit in 'abc']
_USER = '5f0b9d6e-8f0e-4b6c-a1f4-3b8a6d3c2e10'
_MIB = 1 << 20


class AllocatedTest(testtools.TestCase):

    def test_what_is_on_disk_counts(self):
        folder = self.useFixture(fixtures.TempDir()).path
        os.mkdir(os.path.join(folder, 'deep'))
        with open(os.path.join(folder, 'deep', 'sparse'), 'wb') as f:
            f.truncate(1 << 40)
            os.posix_fallocate(f.fileno(), 0, 2 * _MIB)
        with open(os.path.join(folder, 'full'), 'wb') as f:
            os.posix_fallocate(f.fileno(), 0, _MIB)
        os.symlink('/', os.path.join(folder, 'link'))
        found = room.allocated_bytes(folder)
        # and what the filesystem itself needs for the files
        self.assertTrue(3 * _MIB <= found <= 3 * _MIB + 65536, found)

    def test_no_folder(self):
        self.assertEqual(0, room.allocated_bytes('/no/such/folder'))


class MakeRoomTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        path = self.useFixture(fixtures.TempDir()).path
        self.store = basestore.Store(os.path.join(path, 'store'))
        # the first one out of use for longest
        for age, key in zip((3000, 2000, 1000), _KEYS):
            samples.publish(self.store, key)
            self.set_age(key, age)
        self.size = self.store.size_bytes()
        self.one = room.allocated_bytes(
            os.path.join(self.store.folder('bases'), _KEYS[0]))

    def set_age(self, key, age_s):
        path = os.path.join(self.store.folder('uses'), key)
        then = os.stat(path).st_mtime - age_s
        os.utime(path, (then, then))

    def assert_refused(self, *args):
        e = self.assertRaises(exception.StoreUnusable, room.make_room,
                              self.store, *args)
        self.assertIn(self.store.path, str(e))
        self.assertIn('max_store_size_gib', str(e))
        return str(e)

    def test_sizes(self):
        self.assertLess(3 * 4 * _MIB, self.size + 1)
        self.assertEqual(3 * self.one, self.size)
        for name in ('builds', 'downloads', 'appliance'):
            with open(self.store.folder(f'{name}/file'), 'wb') as f:
                os.posix_fallocate(f.fileno(), 0, _MIB)
        self.assertLess(self.size + 3 * _MIB - 1, self.store.size_bytes())
        # a build and a download are gone soon
        self.assertLess(self.size + _MIB - 1, self.store.kept_bytes())
        self.assertGreater(self.size + 2 * _MIB, self.store.kept_bytes())

    def test_enough(self):
        self.assertEqual([], room.make_room(self.store, _MIB,
                                            self.size + _MIB))
        self.assertEqual(_KEYS, self.store.keys())

    def test_the_longest_out_of_use_go_first_and_no_more_than_needed(self):
        limit = self.size + _MIB
        self.assertEqual(_KEYS[:1], room.make_room(self.store, 2 * _MIB,
                                                   limit))
        self.assertEqual(_KEYS[1:], self.store.keys())
        self.assertEqual(_KEYS[1:], room.make_room(
            self.store, 2 * _MIB + 2 * self.one, limit))
        self.assertEqual([], self.store.keys())

    def test_used_ones_stay(self):
        self.store.use(_KEYS[0], _USER)
        self.set_age(_KEYS[0], 9000)
        self.assertEqual([_KEYS[1]], room.make_room(self.store, 1, self.size))

    def test_nothing_goes_in_vain(self):
        self.store.use(_KEYS[0], _USER)
        said = self.assert_refused(2 * self.one + 1, self.size)
        self.assertEqual(_KEYS, self.store.keys())
        self.assertIn('no instance uses take only 8 MiB', said)

    def test_one_just_built_stays(self):
        """The instance that it was built for is about to use it."""
        for key in _KEYS[1:]:
            self.store.use(key, _USER)
        os.utime(os.path.join(self.store.folder('uses'), _KEYS[0]))
        self.assert_refused(1, self.size)
        self.assertEqual(_KEYS, self.store.keys())
