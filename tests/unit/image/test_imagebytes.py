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
import random
import shutil

import fixtures

from nova_flexmem import exception
from nova_flexmem.image import imagebytes
from nova_flexmem.image import source
from nova_flexmem.image import sparse
from tests.unit.image import diskimages

MIB = diskimages.MIB
_BAD_DISK = diskimages.BAD_DISK


class TakeTest(diskimages.DiskImagesTestCase):

    def take(self, found, expected=None, **how):
        folder = self.useFixture(fixtures.TempDir()).path
        return imagebytes.take(found, expected or imagebytes.digest(found),
                               folder, timeout_s=60, **how)

    def test_copy_is_the_same_and_as_sparse(self):
        path = self.path('disk')
        with open(path, 'wb') as f:
            f.truncate(64 * MIB)
            f.seek(32 * MIB)
            f.write(b'in the middle')
        copy = self.take(self.inspect(path, 64 * MIB))
        self.assertNotEqual(path, copy)
        with open(path, 'rb') as a, open(copy, 'rb') as b:
            self.assertEqual(a.read(), b.read())
        self.assertLess(sparse.written_bytes(copy), MIB)

    def test_copy_of_a_whole_file(self):
        content = random.Random(2).randbytes(6 * MIB)
        path = self.write('disk', content)
        with open(self.take(self.inspect(path, 64 * MIB)), 'rb') as f:
            self.assertEqual(content, f.read())

    def test_chain_becomes_one_file(self):
        content = random.Random(3).randbytes(MIB)
        self.qcow2('below', content)
        found = self.inspect(self.overlay('top', self.path('below')),
                             allow_backing_chain=True)
        copy = self.take(found)
        shutil.rmtree(self.folder)
        os.mkdir(self.folder)  # nothing of the chain is left
        self.assertEqual((copy,), self.inspect(copy).chain)
        self.qemu_img('convert', '-f', 'qcow2', '-O', 'raw', copy,
                      self.path('raw'))
        with open(self.path('raw'), 'rb') as f:
            self.assertEqual(content, f.read())

    def test_other_content_meanwhile(self):
        path = self.write('disk', bytes(4096))
        found = self.inspect(path)
        expected = imagebytes.digest(found)
        self.write('disk', b'other'.ljust(4096))
        e = self.assertRaises(exception.ImageRefused, self.take, found,
                              expected)
        self.assertIn(path, str(e))
        self.assertIn('changed while it was read', str(e))

    def test_layer_below_changes_meanwhile(self):
        below = self.qcow2('below')
        found = self.inspect(self.overlay('top', below),
                             allow_backing_chain=True)
        expected = imagebytes.digest(found)
        self.qcow2('below', b'else' * 4096)
        self.assertRaises(exception.ImageRefused, self.take, found, expected)

    def test_cut_short_meanwhile(self):
        path = self.write('disk', bytes(4096))
        found = self.inspect(path)
        expected = imagebytes.digest(found)
        os.truncate(path, 512)
        self.assertRaises(exception.ImageRefused, self.take, found, expected)

    def test_bad_sectors_of_image_and_of_store(self):
        def broken(*_args):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        good = source.Source(self.write('good', b'data' * 128), 'raw', 512,
                             (self.path('good'),))
        bad = source.Source(_BAD_DISK, 'raw', 512, (_BAD_DISK,))
        self.patch(imagebytes, '_copy', broken)
        for found, error in ((bad, exception.BuildFailed), (good, OSError)):
            e = self.assertRaises(error, imagebytes.take, found, '0' * 64,
                                  self.folder, timeout_s=60)
            self.assertIn('Input/output error', str(e))

    def test_copy_that_cannot_be_read(self):
        found = self.inspect(self.write('good', b'data' * 128))
        expected = imagebytes.digest(found)
        self.patch(imagebytes, '_copy',
                   lambda _path, copy: os.symlink(_BAD_DISK, copy))
        e = self.assertRaises(OSError, imagebytes.take, found, expected,
                              self.folder, timeout_s=60)
        self.assertIn(self.path('image.raw'), str(e))

    def test_filesystem_that_shares_no_blocks(self):
        content = random.Random(4).randbytes(MIB)
        path = self.write('disk', content)
        for error in (95, 25, 22, 18):  # as ioctl_ficlone(2) has them
            def refuse(*_args, error=error):
                raise OSError(error, os.strerror(error))

            with fixtures.MonkeyPatch('fcntl.ioctl', refuse):
                with open(self.take(self.inspect(path)), 'rb') as f:
                    self.assertEqual(content, f.read())


class TakeOverTest(diskimages.DiskImagesTestCase):
    """A file that may become the copy itself."""

    def take(self, found, folder=None):
        self.copy = imagebytes.take(
            found, imagebytes.digest(found), folder or self.path('build'),
            timeout_s=60, take_over=True)
        with open(self.copy, 'rb') as f:
            return f.read()

    def setUp(self):
        super().setUp()
        os.mkdir(self.path('build'))
        self.disk = self.write('disk', b'data' * 1024)

    def test_it_is_renamed(self):
        inode = os.stat(self.disk).st_ino
        self.assertEqual(b'data' * 1024, self.take(self.inspect(self.disk)))
        self.assertEqual(inode, os.stat(self.copy).st_ino)
        self.assertFalse(os.path.exists(self.disk))

    def assert_copied(self, **how):
        self.assertEqual(b'data' * 1024,
                         self.take(self.inspect(self.disk), **how))
        self.assertTrue(os.path.exists(self.disk))
        self.assertNotEqual(os.stat(self.disk).st_ino,
                            os.stat(self.copy).st_ino)

    def test_a_file_that_another_may_write_to_is_copied(self):
        with open(self.disk, 'r+b'):
            self.assert_copied()

    def test_a_file_with_another_name_is_copied(self):
        os.link(self.disk, self.path('another name'))
        self.assert_copied()

    def test_a_file_of_another_user_is_copied(self):
        if os.geteuid():
            self.skipTest('only root can give files away')
        os.chown(self.disk, 65534, 65534)
        self.assert_copied()

    def test_a_file_of_another_filesystem_is_copied(self):
        if not os.access('/dev/shm', os.W_OK):
            self.skipTest('there is no /dev/shm')
        folder = self.useFixture(fixtures.TempDir('/dev/shm')).path
        if os.stat(folder).st_dev == os.stat(self.disk).st_dev:
            self.skipTest('/dev/shm is no other filesystem')
        self.assert_copied(folder=folder)

    def test_not_unless_asked(self):
        found = self.inspect(self.disk)
        imagebytes.take(found, imagebytes.digest(found), self.path('build'),
                        timeout_s=60)
        self.assertTrue(os.path.exists(self.disk))

    def test_other_content_meanwhile(self):
        found = self.inspect(self.disk)
        e = self.assertRaises(
            exception.ImageRefused, imagebytes.take, found, '0' * 64,
            self.path('build'), timeout_s=60, take_over=True)
        self.assertIn(self.disk, str(e))

    def test_a_chain_becomes_one_file(self):
        found = self.inspect(self.overlay('top', self.disk, 'raw'),
                             allow_backing_chain=True)
        self.take(found)
        self.assertTrue(os.path.exists(self.path('top')))


class DigestTest(diskimages.DiskImagesTestCase):

    def test_changing_while_it_is_read(self):
        path = self.write('disk', bytes(MIB))

        def change(_part):
            with open(path, 'ab') as f:
                f.write(b'more')

        e = self.assertRaises(exception.ImageRefused, imagebytes.digest,
                              self.inspect(path), change)
        self.assertIn(path, str(e))
        self.assertIn('changed while it was read', str(e))

    def test_bad_sectors(self):
        e = self.assertRaises(
            exception.BuildFailed, imagebytes.digest,
            source.Source(_BAD_DISK, 'raw', MIB, (_BAD_DISK,)))
        self.assertIn(_BAD_DISK, str(e))

    def test_same_content_same_digest(self):
        one = self.inspect(self.write('one', b'x' * 512))
        two = self.inspect(self.write('two', b'x' * 512))
        self.assertEqual(imagebytes.digest(one), imagebytes.digest(two))

    def test_any_layer_counts(self):
        below = self.qcow2('below')
        found = self.inspect(self.overlay('top', below),
                             allow_backing_chain=True)
        before = imagebytes.digest(found)
        self.qcow2('below', b'else' * 4096)
        self.assertNotEqual(before, imagebytes.digest(found))

    def test_progress_ends_at_one(self):
        parts = []
        found = self.inspect(self.write('disk', bytes(9 * MIB)), 64 * MIB)
        imagebytes.digest(found, parts.append)
        self.assertEqual(sorted(parts), parts)
        self.assertEqual(1.0, parts[-1])
