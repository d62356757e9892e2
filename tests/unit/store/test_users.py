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

from nova_flexmem import exception
from nova_flexmem.store import basefiles
from tests.unit.image import samples
from tests.unit.store import store_test

_A, _AB = store_test.KEY, store_test.OTHER_KEY
_USER = store_test.USER


class UsersTest(store_test.StoreTest):

    def setUp(self):
        super().setUp()
        self.path_of_base = samples.publish(self.store, _A)
        samples.publish(self.store, _AB)

    def map_root(self):
        """Map a base as QEMU does; returns how to end that."""
        path = os.path.join(self.path_of_base, basefiles.ROOT_PMEM)
        with open(path, 'rb') as f:
            mapped = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
        self.addCleanup(mapped.close)
        return mapped.close

    def test_recorded(self):
        self.assertEqual({_A: [], _AB: []}, self.store.users_of_all())
        for user in (_USER, 'another', _USER):
            self.assertEqual(_A, self.store.use(_A, user).key)
        self.assertEqual([_USER, 'another'], self.store.recorded_users(_A))
        self.assertEqual({_A: [_USER, 'another'], _AB: []},
                         self.store.users_of_all())
        self.store.release(_A, _USER)
        self.assertEqual(['another'], self.store.users(_A))

    def test_mapped_without_a_record(self):
        unmap = self.map_root()
        me = f'process {os.getpid()}'
        self.assertEqual([], self.store.recorded_users(_A))
        self.assertEqual([me], self.store.users(_A))
        self.store.use(_A, _USER)
        self.assertEqual({_A: [_USER, me], _AB: []},
                         self.store.users_of_all())
        unmap()
        self.assertEqual([_USER], self.store.users(_A))

    def test_use_reads_the_base(self):
        """Nobody is recorded as the user of a damaged base."""
        self.flip(_A, basefiles.ROOT_PMEM)
        self.assertRaises(exception.BaseDamaged, self.store.use, _A, _USER)
        self.assertEqual([], self.store.recorded_users(_A))
        self.assertRaises(exception.BaseNotFound, self.store.use, 'd' * 32,
                          _USER)

    def test_time_out_of_use(self):
        for key in (_A, _AB):
            self.store.use(key, _USER)
            self.store.release(key, _USER)
            self.long_unused(key)
        self.map_root()
        unused_s = self.store.unused_s()
        self.assertEqual(0.0, unused_s[_A])
        self.assertGreater(unused_s[_AB], 1e9)
