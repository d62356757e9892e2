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

import fixtures
import testtools

from nova_flexmem import exception
from nova_flexmem.flatten import identity
from nova_flexmem.store import basestore
from tests.unit.image import samples

SHA256 = '5' * 64


class IdentityTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.store = basestore.Store(self.useFixture(fixtures.TempDir()).path)

    def check(self, sha256, lower_uuid):
        identity.check_below(self.store, '/image', sha256, '/delta',
                             lower_uuid)

    def test_digest(self):
        identity.check_digest('/image', SHA256, None)
        identity.check_digest('/image', SHA256, SHA256)
        e = self.assertRaises(exception.ImageRefused, identity.check_digest,
                              '/image', SHA256, '6' * 64)
        self.assertTrue(str(e).startswith('/image: '), str(e))
        self.assertIn('6' * 64, str(e))

    def test_base_of_format_1(self):
        """Its uuid follows from the image, so no store has to know it."""
        for rootfs in ('erofs', 'ext4'):
            self.check(SHA256, basestore.format_1_uuid(SHA256, rootfs))
        self.assertRaises(
            exception.ImageRefused, self.check, '6' * 64,
            basestore.format_1_uuid(SHA256, 'erofs'))

    def test_base_in_the_store(self):
        samples.publish(self.store, 'a' * 32, image_sha256=SHA256)
        uuid = self.store.require('a' * 32).manifest.uuid
        self.check(SHA256, uuid)
        self.assertRaises(exception.ImageRefused, self.check, '6' * 64, uuid)

    def test_damaged_base_is_no_witness(self):
        samples.publish(self.store, 'a' * 32, image_sha256=SHA256)
        uuid = self.store.require('a' * 32).manifest.uuid
        samples.truncate(self.store, 'a' * 32, 'manifest.json', 9)
        e = self.assertRaises(exception.ImageRefused, self.check, SHA256,
                              uuid)
        self.assertIn('--image-sha256', str(e))

    def test_delta_that_says_nothing(self):
        self.assertRaises(exception.ImageRefused, self.check, SHA256, None)
