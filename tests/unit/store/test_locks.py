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
from oslo_concurrency import lockutils

from nova_flexmem import exception
from nova_flexmem.store import basestore
from tests.unit.store import store_test

_A = store_test.KEY
_AB = store_test.OTHER_KEY


class LockTest(store_test.StoreTest):

    def test_another_process_holds_it(self):
        process = self.hold_lock(_A)

        def take():
            with self.store.lock('build', _A, blocking=False):
                pass

        self.assertRaises(lockutils.AcquireLockFailedException, take)
        with self.store.lock('build', _AB, blocking=False):
            pass  # other keys are free
        process.kill()
        process.join()
        with self.store.lock('build', _A, blocking=False):
            pass  # it ended with the process that held it

    def test_a_folder_that_cannot_be_looked_at(self):
        def fail(path, *_args, **_kwargs):
            raise OSError(5, 'Input/output error', path)

        def take():
            with fixtures.MonkeyPatch('os.stat', fail):
                with self.store.lock('build', _A):
                    pass

        e = self.assertRaises(exception.StoreUnusable, take)
        self.assertIn(f'{self.store.folder("locks")}: Input/output', str(e))

    def test_a_filesystem_that_has_none(self):
        for error, name in ((37, 'No locks available'),
                            (95, 'Operation not supported')):
            def refuse(*_args, error=error, name=name):
                raise OSError(error, name)

            with fixtures.MonkeyPatch('fcntl.lockf', refuse):
                e = self.assertRaises(exception.StoreUnusable,
                                      basestore.Store, self.path)
            for part in (self.path, name, '[flexmem] store_path'):
                self.assertIn(part, str(e))

    def test_the_lock_that_is_tried_is_held_or_cannot_be_made(self):
        def taken(*_args):
            raise OSError(11, 'Resource temporarily unavailable')

        with fixtures.MonkeyPatch('fcntl.lockf', taken):
            basestore.Store(self.path)
        path = self.store.folder('locks/check')
        os.unlink(path)
        os.mkdir(path)
        basestore.Store(self.path)
