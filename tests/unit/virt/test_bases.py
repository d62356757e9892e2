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

import dataclasses
import errno
import os
import shutil
import types
from unittest import mock

import fixtures
import testtools

from nova.virt import images

from nova_flexmem import exception
from nova_flexmem.virt import bases
from tests.unit.image import samples
from tests.unit.virt import test_record


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


class RootfsTest(testtools.TestCase):
    """Bases for deltas that were made where [flexmem] rootfs was another."""

    def setUp(self):
        super().setUp()
        self.bases = bases.Bases(types.SimpleNamespace(
            store_path=self.useFixture(fixtures.TempDir()).path,
            max_parallel_builds=1, share_scope='host', rootfs='auto'), self)
        self.built = []
        self.patch(bases.worker, 'call', self.build)
        self.patch(images, 'fetch', lambda _context, _id, path, _certs:
                   open(path, 'x').close())

    def get(self, _context, _image_id):
        return {'disk_format': 'qcow2'}

    def build(self, _task, _group, *, rootfs, name, **_arguments):
        self.built.append(rootfs)
        key = str(len(self.built)) * 32
        samples.publish(self.bases.store, key, rootfs=rootfs.replace(
            'auto', 'erofs'), image_sha256=test_record.RECORD.image_sha256)
        self.bases.store.set_name(name, key)
        return {'key': key, 'new': True}

    def of_image(self, rootfs):
        return self.bases.of_image(None, bases.Owner(), 'an-image',
                                   rootfs).manifest.rootfs

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
        self.bases = bases.Bases(types.SimpleNamespace(
            **vars(self.bases._group) | {'rootfs': 'ext4'}), self)
        self.assertEqual('erofs', self.of_image('erofs'))
        self.assertEqual('ext4', self.of_image('ext4'))
        self.assertEqual('ext4', self.of_image(None))
        self.assertEqual(['auto', 'ext4'], self.built)

    def test_one_that_is_refused_is_not_tried_again(self):
        def refuse(_task, _group, *, rootfs, **_arguments):
            self.built.append(rootfs)
            raise exception.ImageRefused(image='file', reason='it is odd')

        self.patch(bases.worker, 'call', refuse)
        for _time in range(2):
            e = self.assertRaises(exception.ImageRefused, self.of_image, None)
            self.assertIn('image an-image: it is odd', str(e))
        self.assertEqual(['auto'], self.built)
        # what a delta needs may have no trouble with the image
        self.patch(bases.worker, 'call', self.build)
        self.assertEqual('ext4', self.of_image('ext4'))
        self.assertEqual(['auto', 'ext4'], self.built)

    def test_of_an_instance_whose_base_is_gone(self):
        for rootfs, wanted in (('ext4', 'ext4'), ('erofs', 'erofs'),
                               (None, 'erofs')):
            record = dataclasses.replace(
                test_record.RECORD, rootfs=rootfs, image_id='an-image')
            found = self.bases.of_record(None, types.SimpleNamespace(
                project_id='', trusted_certs=None, uuid=''), record)
            self.assertEqual(wanted, found.manifest.rootfs)

    def test_known(self):
        def known(rootfs):
            found = self.bases.known(bases.Owner(), 'an-image', rootfs)
            return found and found.manifest.rootfs

        self.assertIsNone(known('erofs'))
        self.of_image(None)
        self.assertEqual(('erofs', 'erofs', None),
                         (known(None), known('erofs'), known('ext4')))
        self.of_image('ext4')
        self.assertEqual(('erofs', 'erofs', 'ext4'),
                         (known(None), known('erofs'), known('ext4')))


class BringTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.here, self.there = (
            bases.Bases(types.SimpleNamespace(
                store_path=self.useFixture(fixtures.TempDir()).path,
                max_parallel_builds=1, max_store_size_gib=1), None)
            for _host in range(2))
        samples.publish(self.there.store, '0' * 32)
        self.patch(bases.libvirt_utils, 'copy_image', self.copy)
        self.patch(bases.worker, 'call', lambda *_args, **_kwargs: None)

    def copy(self, source, target, host, receive):
        self.assertEqual(('there', True), (host, receive))
        shutil.copy(source.replace(self.here.store.path,
                                   self.there.store.path), target)

    def bring(self):
        found = self.there.store.require('0' * 32)
        record = dataclasses.replace(
            test_record.RECORD, root_sha256=bases.root_sha256(found),
            image_sha256=found.manifest.image_sha256)
        return self.here.of_record(None, None, record, 'there')

    def test_from_the_host_where_the_instance_was(self):
        self.assertEqual('0' * 32, self.bring().key)
        self.assertEqual(['0' * 32], self.here.store.keys())

    def test_bases_that_nobody_uses_make_room(self):
        samples.publish(self.here.store, '1' * 32)
        asked = []
        self.patch(bases.room, 'make_room', lambda store, *sizes: (
            asked.append(sizes), store.remove('1' * 32)))
        self.bring()
        self.assertEqual(['0' * 32], self.here.store.keys())
        files = self.there.store.require('0' * 32).manifest.files.values()
        self.assertEqual([(sum(file.size_bytes for file in files), 1 << 30)],
                         asked)
