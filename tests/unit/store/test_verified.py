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
import resource

import fixtures

from nova_flexmem import exception
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore
from tests.unit.image import samples
from tests.unit.store import store_test

_A = store_test.KEY
_AB = store_test.OTHER_KEY
_USER = store_test.USER


class VerifiedTest(store_test.StoreTest):

    def setUp(self):
        super().setUp()
        samples.publish(self.store, _A)
        self.reads = []
        verify = basefiles.Base.verify

        def counting(found, *args):
            self.reads.append(found.key)
            return verify(found, *args)

        self.useFixture(fixtures.MonkeyPatch(
            'nova_flexmem.store.basefiles.Base.verify', counting))

    def test_reads_once(self):
        self.assertEqual(_A, self.store.ensure_verified(_A).key)
        self.store.ensure_verified(_A)
        basestore.Store(self.path).ensure_verified(_A)
        self.assertEqual(1, len(self.reads))
        self.assertEqual([_A], self.names('verified'))

    def test_record_that_cannot_be_written(self):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        try:
            self.assertRaises(exception.StoreUnusable,
                              self.store.ensure_verified, _A)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        self.assertFalse(self.store.is_verified(_A))
        self.assertEqual([_A], self.names('verified'))
        self.store.remove(_A)
        self.assertEqual([], self.names('verified'))

    def test_verified(self):
        self.assertFalse(self.store.is_verified(_A))
        self.store.ensure_verified(_A)
        self.assertTrue(self.store.is_verified(_A))
        os.utime(os.path.join(self.store.folder('bases'), _A,
                              basefiles.KERNEL))
        self.assertFalse(self.store.is_verified(_A))
        self.assertEqual(1, len(self.reads))
        self.assertRaises(exception.BaseNotFound, self.store.is_verified, _AB)

    def test_reads_again_when_touched(self):
        for name in basefiles.FILES:
            self.store.ensure_verified(_A)
            del self.reads[:]
            os.utime(os.path.join(self.store.folder('bases'), _A, name))
            self.store.ensure_verified(_A)
            self.store.ensure_verified(_A)
            self.assertEqual(1, len(self.reads), name)

    def test_reads_again_after_the_host_booted(self):
        self.store.ensure_verified(_A)
        other = os.path.join(self.path, 'boot_id')
        with open(other, 'w') as f:
            f.write('another boot\n')
        self.useFixture(fixtures.MonkeyPatch(
            'nova_flexmem.hostboot._BOOT_ID', other))
        self.store.ensure_verified(_A)
        self.assertEqual(2, len(self.reads))

    def test_torn_record(self):
        self.store.ensure_verified(_A)
        path = os.path.join(self.store.folder('verified'), _A)
        os.truncate(path, 5)
        self.store.ensure_verified(_A)
        self.store.ensure_verified(_A)
        self.assertEqual(2, len(self.reads))

    def test_flipped_bit(self):
        """Even if the file's time of change was put back."""
        self.store.ensure_verified(_A)
        for name in basefiles.FILES:
            self.flip(_A, name)
            for function in (self.store.ensure_verified,
                             lambda key: self.store.use(key, _USER)):
                e = self.assertRaises(exception.BaseDamaged, function, _A)
                self.assertIn(name, str(e))
            self.assertEqual([], self.store.users(_A))
            self.flip(_A, name)
        self.store.ensure_verified(_A)

    def rot(self, name):
        """Change one bit as a bad disk would: nothing else tells of it."""
        before = self.store.get(_A).states()
        self.flip(_A, name)
        self.useFixture(fixtures.MonkeyPatch(
            'nova_flexmem.store.basefiles.Base.states', lambda _found: before))

    def test_a_base_found_damaged_is_not_taken_any_more(self):
        self.store.ensure_verified(_A)
        self.rot(basefiles.KERNEL)
        self.store.ensure_verified(_A)  # nobody has looked
        for function in (self.store.verify, self.store.ensure_verified):
            e = self.assertRaises(exception.BaseDamaged, function, _A)
            self.assertIn('its content has changed', str(e))
        self.assertFalse(self.store.is_verified(_A))
        self.store.remove(_A)

    def test_a_base_found_damaged_in_another_users_store(self):
        self.store.ensure_verified(_A)
        self.rot(basefiles.KERNEL)

        def refuse(path):
            raise OSError(13, 'Permission denied', path)

        with fixtures.MonkeyPatch('os.unlink', refuse):
            e = self.assertRaises(exception.BaseDamaged, self.store.verify,
                                  _A)
        for part in ('its content has changed', 'Permission denied',
                     self.store.folder(f'verified/{_A}')):
            self.assertIn(part, str(e))

    def test_a_base_found_whole(self):
        self.store.ensure_verified(_A)
        parts = []
        self.store.verify(_A, parts.append)
        self.assertEqual(1, parts[-1])
        self.assertEqual(2, len(self.reads))
        self.assertTrue(self.store.is_verified(_A))

    def test_none(self):
        self.assertRaises(exception.BaseNotFound, self.store.ensure_verified,
                          _AB)
        self.assertRaises(exception.BaseNotFound, self.store.verify, _AB)
        self.assertRaises(exception.BaseNotFound, self.store.use, _AB, _USER)
        self.assertNotIn(_AB, self.names('uses'))
