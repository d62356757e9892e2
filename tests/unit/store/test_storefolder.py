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

import hashlib
import os

import fixtures

from nova_flexmem import exception
from nova_flexmem.store import basestore
from tests.unit.image import samples
from tests.unit.store import store_test

_A = store_test.KEY
_AB = store_test.OTHER_KEY


class StoreFolderTest(store_test.StoreTest):

    def assert_unusable(self, function, *args):
        e = self.assertRaises(exception.StoreUnusable, function, *args)
        self.assertIn(self.path, str(e))
        self.assertNotIn('\n', str(e))
        return str(e)

    def test_a_file_in_place_of_the_store(self):
        path = f'{self.path}/file'
        open(path, 'w').close()
        self.assert_unusable(basestore.Store, path)

    def test_a_file_in_place_of_a_folder(self):
        for name in ('bases', 'builds', 'locks', 'uses', 'verified', 'names'):
            folder = self.store.folder(name)
            os.rename(folder, f'{folder}.away')
            open(folder, 'w').close()
            self.assert_unusable(basestore.Store, self.path)
            os.unlink(folder)
            os.rename(f'{folder}.away', folder)

    def test_root_in_the_store_of_another(self):
        if os.geteuid() != 0:
            self.skipTest('not root')
        path = f'{self.path}/theirs'
        os.mkdir(path)
        os.chown(path, 65534, 65534)
        said = self.assert_unusable(basestore.Store, path)
        self.assertIn('owned by user 65534', said)
        self.assertEqual([], basestore.Store(path, read_only=True).keys())
        self.assertEqual([], os.listdir(path))

    def test_locks_that_cannot_be_made(self):
        samples.publish(self.store, _AB)
        number = hashlib.sha256(_A.encode()).hexdigest()[:2]
        os.mkdir(self.store.folder(f'locks/build-{number}'))
        self.assert_unusable(samples.publish, self.store, _A)

    def test_builds_that_cannot_be_made(self):
        os.rmdir(self.store.folder('builds'))
        self.assert_unusable(samples.publish, self.store, _A)
        self.assert_unusable(self.store.clean)

    def test_only_looked_at(self):
        looked_at = basestore.Store(self.path, read_only=True)
        samples.publish(self.store, _A)
        self.assertEqual([_A], looked_at.keys())
        path = f'{self.path}/none'
        self.assertEqual([], basestore.Store(path, read_only=True).keys())
        self.assertFalse(os.path.exists(path))

    def test_read_only(self):
        if os.geteuid() == 0:
            self.skipTest('root may write into any folder')
        for name in ('locks', 'builds'):
            os.chmod(self.store.folder(name), 0o555)
            self.assert_unusable(samples.publish, self.store, _A)
            os.chmod(self.store.folder(name), 0o755)

    def test_full(self):
        def full(*_args):
            raise OSError(28, 'No space left on device', self.path)

        with fixtures.MonkeyPatch('os.fsync', full):
            said = self.assert_unusable(samples.publish, self.store, _A)
        self.assertIn('No space left', said)
        self.assertIn('nova-flexmem image prune', said)
        self.assertEqual([], self.names('builds'))
        self.assertEqual([], self.store.keys())

    def test_disk_that_fails(self):
        """A base that cannot be looked at is not one that is not there."""
        samples.publish(self.store, _A)
        self.store.set_name('an-image', _A)

        def fail(path, *_args, **_kwargs):
            raise OSError(5, 'Input/output error', path)

        for call, function, *args in (
                ('os.stat', self.store.get, _A),
                ('os.stat', self.store.require, _A),
                ('os.stat', self.store.key_named, 'an-image'),
                ('os.listdir', self.store.recorded_users, _A),
                ('os.listdir', self.store.users, _A),
                ('os.listdir', self.store.unused_s),
                ('os.listdir', self.store.prune, 0),
                ('os.unlink', self.store.remove, _A)):
            with fixtures.MonkeyPatch(call, fail):
                said = self.assert_unusable(function, *args)
            self.assertIn('Input/output error', said)
            self.assertIn('another disk', said)
        self.store.get(_A).verify()
