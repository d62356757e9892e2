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

from nova_flexmem.build import builder
from nova_flexmem.build import job
from nova_flexmem import exception
from nova_flexmem.image import source
from nova_flexmem.store import basestore

MIB = 1 << 20


class RoomTest(testtools.TestCase):
    """What counts against the limit of the store's size."""

    def setUp(self):
        super().setUp()
        self.store = basestore.Store(self.useFixture(fixtures.TempDir()).path)

    def write(self, folder, size_bytes):
        path = os.path.join(folder, 'file')
        with open(path, 'wb') as f:
            f.write(b'x' * size_bytes)
            os.fsync(f.fileno())
        return path

    def make_room(self, image):
        """Make room for 1 MiB below a limit of 2 MiB."""
        with self.store.build_folder('a' * 32) as folder:
            self.write(folder, 8 * MIB)
            job.make_room(job.Job(
                self.store, source.Source(image, 'raw', 512, (image,)), '',
                folder, builder.Options(max_store_size_bytes=2 * MIB),
                None), MIB)

    def test_what_is_there_when_the_build_has_ended(self):
        image = self.write(self.store.folder('downloads'), 4 * MIB)
        self.make_room(image)

    def test_what_others_have_there(self):
        self.write(self.store.folder('downloads'), 4 * MIB)
        image = self.write(self.useFixture(fixtures.TempDir()).path, 4 * MIB)
        e = self.assertRaises(exception.StoreUnusable, self.make_room, image)
        self.assertIn('it would take 5 MiB', str(e))
