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
from unittest import mock

import fixtures
import testtools

from nova_flexmem.build import builder
from nova_flexmem import exception
from nova_flexmem.image import imagebytes
from nova_flexmem.image import source
from nova_flexmem.store import basestore
from tests.unit.image import samples

MIB = 1 << 20


class FailedTest(testtools.TestCase):
    """What is told when a helper program fails."""

    def setUp(self):
        super().setUp()
        self.store = basestore.Store(self.useFixture(fixtures.TempDir()).path)
        self.patch(source, 'inspect', lambda path, **_options: source.Source(
            path, 'raw', 512, (path,)))
        self.patch(imagebytes, 'digest', lambda *_args: '0' * 64)

    def build(self):
        with mock.patch.object(builder, '_run', autospec=True,
                               side_effect=exception.ProgramFailed(
                                   program='guestfish', reason='closed')):
            return builder.build(self.store, '/image')

    def test_its_words(self):
        os.makedirs(os.path.join(self.store.folder('appliance'), 'cache',
                                 '.guestfs-0', 'appliance.d'))
        e = self.assertRaises(exception.BuildFailed, self.build)
        for part in ('/image', 'guestfish', 'closed'):
            self.assertIn(part, str(e))
        self.assertEqual([], os.listdir(self.store.folder('builds')))

    def test_that_the_disk_is_full(self):
        def full(_fd, _offset, size_bytes):
            self.assertGreater(size_bytes, 300 << 20)  # of the appliance
            raise OSError(28, 'No space left on device')

        with fixtures.MonkeyPatch('os.posix_fallocate', full):
            e = self.assertRaises(exception.StoreUnusable, self.build)
        for part in (self.store.path, 'No space left on device', 'prune'):
            self.assertIn(part, str(e))
        self.assertEqual([], os.listdir(self.store.folder('builds')))


class PublishedTest(testtools.TestCase):
    """A base of the image that is there already."""

    def setUp(self):
        super().setUp()
        self.store = basestore.Store(self.useFixture(fixtures.TempDir()).path)
        self.patch(source, 'inspect', lambda path, **_options: source.Source(
            path, 'raw', 512, (path,)))
        samples.publish(self.store, 'a' * 32)
        manifest = self.store.require('a' * 32).manifest
        self.patch(imagebytes, 'digest', lambda *_args: manifest.image_sha256)
        self.options = builder.Options(rootfs=manifest.rootfs)

    def test_it_is_taken(self):
        base, new = builder.build(self.store, '/image', self.options)
        self.assertEqual(('a' * 32, False), (base.key, new))

    def test_one_without_all_of_its_files_is_built_anew(self):
        os.unlink(self.store.require('a' * 32).file('root.pmem'))
        with mock.patch.object(builder, '_run', autospec=True,
                               return_value='a' * 32) as run:
            _base, new = builder.build(self.store, '/image', self.options)
        self.assertTrue(new)
        run.assert_called_once()
