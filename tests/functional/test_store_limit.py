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

"""The limit of the base store's size, with real builds."""

import os
import tempfile

import testtools

from nova_flexmem.build import builder
from nova_flexmem import exception
from nova_flexmem.image import appliance
from nova_flexmem.store import room
from tests.functional import harness
from tests.functional import small_image

_MIB = 1 << 20


class StoreLimitTest(testtools.TestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory(
            prefix='flexmem-limit-', dir='/var/tmp'))
        cls.store = harness.new_store(cls.folder)
        drives = []
        for label in ('one', 'other'):
            path = os.path.join(cls.folder, f'{label}.raw')
            with open(path, 'xb') as f:
                f.truncate(small_image.DISK_BYTES)
            drives.append(appliance.Drive(path, 'raw', False, label))
        with appliance.Appliance(
                cls.store.folder('appliance'), drives, timeout_s=900,
                file_size_bytes=small_image.DISK_BYTES) as guest:
            for drive in drives:
                small_image.fill(
                    guest, drive.device, 'ext4', small_image.GOOD |
                    {'/usr/share/more': os.urandom(4096)}, cls.folder)
        cls.images = [drive.path for drive in drives]

    def build(self, image, limit_bytes, **options):
        built, new = builder.build(
            self.store, image, builder.Options(
                max_store_size_bytes=limit_bytes, **options))
        self.assertTrue(new)
        return built

    def refuse(self, image, limit_bytes):
        e = self.assertRaises(exception.StoreUnusable, self.build, image,
                              limit_bytes)
        self.assertIn('max_store_size_gib', str(e))
        self.assertEqual([], os.listdir(self.store.folder('builds')))

    def test_limit(self):
        self.patch(room, '_GRACE_S', 0)
        one, other = self.images
        first = self.build(one, 0)
        base_bytes = room.allocated_bytes(first.path)
        size_bytes = self.store.size_bytes()

        # refused before anything is copied
        self.refuse(other, size_bytes - base_bytes)
        self.assertEqual([first.key], self.store.keys())
        self.store.use(first.key, 'somebody')
        # refused when the files were measured: 16 MiB are for slack alone
        self.refuse(other, size_bytes + 8 * _MIB)

        limit_bytes = size_bytes + 24 * _MIB
        second = self.build(other, limit_bytes)
        self.assertEqual({first.key, second.key}, set(self.store.keys()))
        self.assertLessEqual(self.store.size_bytes(), limit_bytes)

        # now the unused one goes, the used one never
        third = self.build(other, limit_bytes, scope='a project')
        self.assertEqual({first.key, third.key}, set(self.store.keys()))
        self.assertEqual('a project', third.manifest.scope)
        self.assertLessEqual(self.store.size_bytes(), limit_bytes)
        self.store.release(first.key, 'somebody')
