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

"""Has a base store to try."""

import multiprocessing
import os

import fixtures
import testtools

from nova_flexmem.store import basestore

#: Keys of bases, and a user of them.
KEY = 'a' * 32
OTHER_KEY = 'ab' + 'c' * 30
USER = '5f0b9d6e-8f0e-4b6c-a1f4-3b8a6d3c2e10'


def _hold_lock(path, key, connection):
    with basestore.Store(path).lock('build', key):
        connection.send('held')
        connection.poll(60)


class StoreTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.useFixture(fixtures.TempDir()).path,
                                 'store')
        self.store = basestore.Store(self.path)

    def names(self, folder):
        return sorted(os.listdir(self.store.folder(folder)))

    def flip(self, key, name):
        """Change one bit of a base's file, as root could."""
        path = os.path.join(self.store.folder('bases'), key, name)
        status = os.stat(path)
        os.chmod(path, 0o644)
        with open(path, 'r+b') as f:
            f.seek(-1, os.SEEK_END)
            byte = f.read(1)[0]
            f.seek(-1, os.SEEK_END)
            f.write(bytes([byte ^ 1]))
        os.chmod(path, 0o444)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    def long_unused(self, key):
        os.utime(os.path.join(self.store.folder('uses'), key), (0, 0))

    def start(self, target, *args):
        process = multiprocessing.get_context('spawn').Process(
            target=target, args=args)
        process.start()
        self.addCleanup(process.kill)
        return process

    def hold_lock(self, key):
        """Return a process that holds a lock until it ends."""
        ours, its = multiprocessing.Pipe()
        self.addCleanup(ours.close)
        process = self.start(_hold_lock, self.path, key, its)
        self.assertTrue(ours.poll(60), 'no lock within 60 s')
        return process
