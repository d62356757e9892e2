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
import tempfile

import testtools

from nova_flexmem.bench import hostcache
from nova_flexmem.host import pages

MIB = 1 << 20


class HostCacheTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        # not in /tmp: what is on tmpfs is nowhere but in the page cache
        file = tempfile.NamedTemporaryFile(dir='/var/tmp')
        self.addCleanup(file.close)
        self.path = file.name

    def test_drop_and_fill(self):
        with open(self.path, 'wb') as f:
            f.write(b'data' * MIB)
        hostcache.drop(self.path)
        self.assertEqual(0, pages.resident_bytes(self.path))
        hostcache.fill(self.path)
        self.assertEqual(4 * MIB, pages.resident_bytes(self.path))

    def test_holes_are_not_filled(self):
        with open(self.path, 'wb') as f:
            f.truncate(64 * MIB)
            for position in (8 * MIB, 40 * MIB):
                f.seek(position)
                f.write(b'data' * (MIB // 4))
        hostcache.drop(self.path)
        hostcache.fill(self.path)
        found = pages.resident_bytes(self.path)
        self.assertGreaterEqual(found, 2 * MIB)
        self.assertLess(found, 8 * MIB)  # read-ahead goes into holes

    def test_empty_file(self):
        hostcache.drop(self.path)
        hostcache.fill(self.path)
        self.assertEqual(0, os.path.getsize(self.path))
