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
import threading
import types
from unittest import mock

import fixtures
import testtools

from nova.virt import images

from nova_flexmem.build import bootfiles
from nova_flexmem import exception
from nova_flexmem.virt import imagebases
from tests.unit.image import samples
from tests.unit.virt import test_record

BUILDS = {'max_parallel_builds': 1, 'max_waiting_builds': 1,
          'build_wait_s': 60, 'max_virtual_size_gib': 8,
          'max_store_size_gib': 1}

_GIB = 1 << 30


class DownloadTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.bases = imagebases.ImageBases(types.SimpleNamespace(
            store_path=self.useFixture(fixtures.TempDir()).path,
            **BUILDS), self)
        self.folder = self.bases.store.folder('downloads')
        self.image = {'size': 1}

    def get(self, _context, _image_id):
        return self.image

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

    def test_without_room_nothing_is_downloaded(self):
        free = os.statvfs(self.folder)
        self.image = {'size': free.f_blocks * free.f_frsize}
        e = self.assertRaises(exception.StoreUnusable, self.download,
                              AssertionError())
        for part in (self.folder, f'{self.image["size"] >> 20} MiB',
                     'image prune'):
            self.assertIn(part, str(e))

    def test_of_a_size_that_glance_does_not_say(self):
        for self.image in ({}, {'size': None}):
            self.assertRaises(ConnectionResetError, self.download,
                              ConnectionResetError())

    def test_over_a_network_that_fails(self):
        for error in (ConnectionResetError(errno.ECONNRESET, 'reset'),
                      OSError('of a library')):
            self.assertRaises(type(error), self.download, error)
            self.assertEqual([], os.listdir(self.folder))


class ImageBasesTestCase(testtools.TestCase):
    """Has the bases of images, built by a stand-in."""

    kind = imagebases.ImageBases

    def setUp(self):
        super().setUp()
        self.bases = self.kind(types.SimpleNamespace(
            store_path=self.useFixture(fixtures.TempDir()).path,
            **BUILDS, share_scope='host', rootfs='auto'), self)
        self.built = []
        self.patch(imagebases.worker, 'call', self.build)
        self.patch(images, 'fetch', lambda _context, _id, path, _certs:
                   open(path, 'x').close())

    def get(self, _context, _image_id):
        return {'disk_format': 'qcow2'}

    def build(self, task, _group, *, rootfs=None, name=None, key=None,
              **_arguments):
        if task == 'check':
            self.bases.store.ensure_verified(key)
            return None
        self.built.append(rootfs)
        key = str(len(self.built)) * 32
        samples.publish(self.bases.store, key, rootfs=rootfs.replace(
            'auto', 'erofs'), image_sha256=test_record.RECORD.image_sha256,
            boot_id=bootfiles.boot_id())
        self.bases.store.set_name(name, key)
        return {'key': key, 'new': True}

    def of_image(self, rootfs):
        return self.bases.of_image(None, imagebases.Requester(), 'an-image',
                                   rootfs).manifest.rootfs


class RootfsTest(ImageBasesTestCase):
    """Bases for deltas that were made where [flexmem] rootfs was another."""

    def test_that_of_new_instances(self):
        for _time in range(2):
            for rootfs in (None, 'erofs'):
                self.assertEqual('erofs', self.of_image(rootfs))
        self.assertEqual(['auto'], self.built)

    def test_another(self):
        for _time in range(2):
            self.assertEqual('ext4', self.of_image('ext4'))
        self.assertEqual(['auto', 'ext4'], self.built)

    def test_after_a_change_of_the_setting(self):
        self.of_image(None)
        self.bases = self.kind(types.SimpleNamespace(
            **vars(self.bases._group) | {'rootfs': 'ext4'}), self)
        self.assertEqual('erofs', self.of_image('erofs'))
        self.assertEqual('ext4', self.of_image('ext4'))
        self.assertEqual('ext4', self.of_image(None))
        self.assertEqual(['auto', 'ext4'], self.built)

    def test_one_that_is_refused_is_not_tried_again(self):
        def refuse(_task, _group, *, rootfs, **_arguments):
            self.built.append(rootfs)
            raise exception.ImageRefused(image='file', reason='it is odd')

        self.patch(imagebases.worker, 'call', refuse)
        for _time in range(2):
            e = self.assertRaises(exception.ImageRefused, self.of_image, None)
            self.assertIn('image an-image: it is odd', str(e))
        self.assertEqual(['auto'], self.built)
        # what a delta needs may have no trouble with the image
        self.patch(imagebases.worker, 'call', self.build)
        self.assertEqual('ext4', self.of_image('ext4'))
        self.assertEqual(['auto', 'ext4'], self.built)

    def test_refusals_that_are_remembered_are_limited(self):
        def refuse(_task, _group, *, name, **_arguments):
            self.built.append(name)
            raise exception.ImageRefused(image='file', reason='it is odd')

        self.patch(imagebases.worker, 'call', refuse)
        self.patch(imagebases, '_MOST_REFUSED', 3)
        for image_id in ('a', 'b', 'c', 'd', 'b', 'a'):
            self.assertRaises(exception.ImageRefused, self.bases.of_image,
                              None, imagebases.Requester(), image_id)
        self.assertEqual(['a.auto', 'b.auto', 'c.auto', 'd.auto', 'a.auto'],
                         self.built)
        self.assertEqual(3, len(self.bases._refused))

    def busy(self, wanted, image_id='an-image', **group):
        """Return why an image gets no base while another one is built.

        :param wanted: the image that is wanted meanwhile
        """
        self.bases = self.kind(types.SimpleNamespace(
            **vars(self.bases._group) | group), self)
        begun, end = threading.Event(), threading.Event()
        self.addCleanup(end.set)

        def build(task, *args, **kwargs):
            begun.set()
            self.assertTrue(end.wait(60))
            return self.build(task, *args, **kwargs)

        self.patch(imagebases.worker, 'call', build)
        builder = threading.Thread(target=self.of_image, args=(None,))
        builder.start()
        self.assertTrue(begun.wait(60))
        try:
            return self.assertRaises(
                exception.HostBusy, self.bases.of_image, None,
                imagebases.Requester(), wanted)
        finally:
            end.set()
            builder.join()

    def test_a_wait_for_a_build_of_the_same_image_ends(self):
        e = self.busy('an-image', build_wait_s=1)
        self.assertIn('build_wait_s', str(e))
        self.assertEqual(['auto'], self.built)
        # the base that was built meanwhile is there then
        self.assertEqual('erofs', self.of_image(None))

    def test_a_wait_for_a_build_of_another_image_ends(self):
        e = self.busy('another', build_wait_s=1)
        self.assertIn('over 1 s', str(e))

    def test_no_more_waiters_than_allowed(self):
        e = self.busy('another', max_waiting_builds=0)
        self.assertIn('max_waiting_builds', str(e))

    def test_known(self):
        def known(rootfs):
            found = self.bases.known(imagebases.Requester(),
                                     'an-image', rootfs)
            return found and found.manifest.rootfs

        self.assertIsNone(known('erofs'))
        self.of_image(None)
        self.assertEqual(('erofs', 'erofs', None),
                         (known(None), known('erofs'), known('ext4')))
        self.of_image('ext4')
        self.assertEqual(('erofs', 'erofs', 'ext4'),
                         (known(None), known('erofs'), known('ext4')))


class FormatTest(ImageBasesTestCase):

    def fetch(self, _context, image_id, path, _certs):
        self.fetched.append(image_id)
        open(path, 'x').close()

    def refused_unread(self, error, words, **image):
        """Check what an image is refused for, and that nothing is fetched."""
        self.fetched = []
        self.patch(images, 'fetch', self.fetch)
        self.get = lambda *_args: {'disk_format': 'qcow2'} | image
        e = self.assertRaises(error, self.of, 'an-image')
        self.assertIn(words, str(e))
        self.assertEqual(([], []), (self.fetched, self.built))

    def test_limits_that_glance_tells_are_kept_before_the_download(self):
        for words, image in (
                ('image an-image: its virtual size of 8.5 GiB is above the'
                 ' limit of 8 GiB', {'virtual_size': 17 * _GIB // 2}),
                ('size of 10.0 GiB is above', {'size': 10 * _GIB}),
                ('size of 8.5 GiB is above', {'size': 17 * _GIB // 2,
                                              'disk_format': 'raw'}),
                ('max_virtual_size_gib', {'virtual_size': 8 * _GIB + 1})):
            self.refused_unread(exception.ImageRefused, words, **image)
        # a qcow2 file may be larger than its disk
        self.get = lambda *_args: {
            'disk_format': 'qcow2', 'virtual_size': 8 * _GIB, 'size': None}
        self.of('an-image')

    def test_a_store_without_room_downloads_nothing(self):
        self.refused_unread(exception.StoreUnusable, 'max_store_size_gib',
                            size=_GIB + 1)
        # holes of a raw image take no room, and only the build knows them
        self.get = lambda *_args: {'disk_format': 'raw', 'size': _GIB + 1}
        self.of('an-image')

    def of(self, image_id, project_id=''):
        return self.bases.of_image(None, imagebases.Requester(project_id),
                                   image_id)

    def test_formats_that_can_be_a_base(self):
        for disk_format in ('iso', 'vmdk', 'ami', None):
            self.get = lambda *_args, disk_format=disk_format: {
                'disk_format': disk_format}
            e = self.assertRaises(exception.ImageRefused, self.of, 'an-image')
            self.assertEqual(f'image an-image: its disk_format is'
                             f' {disk_format}; FlexMem can use raw and qcow2',
                             str(e))
        self.assertEqual([], self.built)
        self.get = lambda *_args: {'disk_format': 'raw'}
        self.of('an-image')

    def test_nothing_stays_of_the_download(self):
        self.of('an-image')
        self.assertEqual([], os.listdir(self.bases.store.folder('downloads')))

    def test_projects_that_share_nothing(self):
        self.bases._group.share_scope = 'project'
        keys = [self.of('an-image', project).key
                for project in ('a', 'b', 'a')]
        self.assertEqual(keys[0], keys[2])
        self.assertNotEqual(keys[0], keys[1])
        self.assertEqual(2, len(self.built))

    def test_base_of_an_older_format_is_built_anew(self):
        key = self.of('an-image').key
        newer = self.bases.of_image(None, imagebases.Requester(), 'an-image',
                                    minimum_format=99)
        self.assertNotEqual(key, newer.key)

    def test_base_that_is_damaged_is_built_anew(self):
        key = self.of('an-image').key
        samples.truncate(self.bases.store, key, 'root.pmem', 1)
        self.assertIsNone(self.bases.known(imagebases.Requester(),
                                           'an-image'))
        self.assertNotEqual(key, self.of('an-image').key)
