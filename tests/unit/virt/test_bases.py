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

import errno
import os
import types
from unittest import mock

import fixtures
import testtools

from nova.virt import images

from nova_flexmem import exception
from nova_flexmem.virt import bases


class DownloadTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.bases = bases.Bases(types.SimpleNamespace(
            store_path=self.useFixture(fixtures.TempDir()).path,
            max_parallel_builds=1), None)
        self.folder = self.bases.store.folder('downloads')

    def download(self, error):
        def fetch(_context, _image_id, path, _trusted_certs):
            with open(path, 'x'):
                raise error

        with mock.patch.object(images, 'fetch', fetch):
            with self.bases.download(None, 'image-id'):
                pass

    def test_on_a_full_disk(self):
        e = self.assertRaises(
            exception.StoreUnusable, self.download,
            OSError(errno.ENOSPC, 'No space left on device'))
        for part in (self.folder, 'No space left', 'image prune'):
            self.assertIn(part, str(e))
        self.assertEqual([], os.listdir(self.folder))

    def test_over_a_network_that_fails(self):
        for error in (ConnectionResetError(errno.ECONNRESET, 'reset'),
                      OSError('of a library')):
            self.assertRaises(type(error), self.download, error)
            self.assertEqual([], os.listdir(self.folder))
