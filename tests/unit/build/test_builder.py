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
from nova_flexmem.build import rootfs
from nova_flexmem import exception
from nova_flexmem.image import kernel
from nova_flexmem.image import source
from nova_flexmem.store import basestore

MIB = 1 << 20


class FailedTest(testtools.TestCase):
    """What is told when a helper program fails."""

    def setUp(self):
        super().setUp()
        self.store = basestore.Store(self.useFixture(fixtures.TempDir()).path)
        self.patch(source, 'inspect', lambda path, **_options: source.Source(
            path, 'raw', 512, (path,)))
        self.patch(source, 'digest', lambda *_args: '0' * 64)

    def build(self):
        with mock.patch.object(builder._Build, 'run', autospec=True,
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
            builder._Build(
                self.store, source.Source(image, 'raw', 512, (image,)), '',
                folder, builder.Options(max_store_size_bytes=2 * MIB),
                None)._make_room(MIB)

    def test_what_is_there_when_the_build_has_ended(self):
        image = self.write(self.store.folder('downloads'), 4 * MIB)
        self.make_room(image)

    def test_what_others_have_there(self):
        self.write(self.store.folder('downloads'), 4 * MIB)
        image = self.write(self.useFixture(fixtures.TempDir()).path, 4 * MIB)
        e = self.assertRaises(exception.StoreUnusable, self.make_room, image)
        self.assertIn('it would take 5 MiB', str(e))


class RootfsDriverTest(testtools.TestCase):
    """Which root filesystem a base gets."""

    def chosen(self, wanted, able, **odd):
        build = builder._Build(
            None, source.Source('/image', 'raw', 512, ('/image',)), '',
            '/none', builder.Options(rootfs=wanted), None)
        found = kernel.Kernel('6.1', b'', able, ('nvdimm',), (), ())
        return build._rootfs_driver(
            found, rootfs.Content(1, 1, **odd)).name

    def test_what_the_kernel_can(self):
        self.assertEqual('erofs', self.chosen('auto', ('erofs', 'ext4')))
        self.assertEqual('ext4', self.chosen('auto', ('ext4',)))
        self.assertEqual('ext4', self.chosen('ext4', ('erofs', 'ext4')))
        e = self.assertRaises(exception.ImageRefused, self.chosen, 'erofs',
                              ('ext4',))
        self.assertIn('cannot mount erofs with DAX', str(e))

    def test_what_it_can_not_have(self):
        for odd, said in (({'longest_names': 1}, 'names of 255 bytes'),
                          ({'btrfs_properties': 1}, 'properties of btrfs')):
            self.assertEqual(
                'ext4', self.chosen('auto', ('erofs', 'ext4'), **odd))
            e = self.assertRaises(
                exception.ImageRefused, self.chosen, 'erofs',
                ('erofs', 'ext4'), **odd)
            self.assertIn(said, str(e))
