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
import os
import shutil
import types

import fixtures
from oslo_concurrency import processutils
import testtools

from nova.virt import images

from nova_flexmem.build import bootfiles
from nova_flexmem import exception
from nova_flexmem.store import basefiles
from nova_flexmem.virt import bases
from nova_flexmem.virt import imagebases
from nova_flexmem.virt import layered
from tests.unit.image import samples
from tests.unit.virt import test_imagebases
from tests.unit.virt import test_record


_INSTANCE = types.SimpleNamespace(project_id='a-project', trusted_certs=None,
                                  uuid='5f0b9d6e-8f0e-4b6c-a1f4-3b8a6d3c2e10')
_KEY = '0' * 32


class RootfsTest(test_imagebases.ImageBasesTestCase):

    kind = bases.Bases

    def test_of_an_instance_whose_base_is_gone(self):
        self.patch(bases.bring, 'hosts_with', lambda *_args: [])
        for rootfs, wanted in (('ext4', 'ext4'), ('erofs', 'erofs'),
                               (None, 'erofs')):
            record = dataclasses.replace(
                test_record.RECORD, rootfs=rootfs, image_id='an-image')
            found = self.bases.of_record(None, _INSTANCE, record)
            self.assertEqual(wanted, found.manifest.rootfs)


class CacheTest(test_imagebases.ImageBasesTestCase):
    """Bases that are built before any instance needs them."""

    kind = bases.Bases

    def setUp(self):
        super().setUp()
        self.image = {'disk_format': 'qcow2', 'properties': {}}
        self.bases._group.image_policy = 'narrow'

    def get(self, _context, _image_id):
        return self.image

    def cache(self):
        return self.bases.cache(None, 'an-image')

    def test_built_once(self):
        self.assertEqual([True, False], [self.cache(), self.cache()])
        self.assertEqual(['auto'], self.built)

    def test_a_layered_snapshot_is_of_no_use_to_stock_instances(self):
        self.image['properties'] = {layered.BASE_IMAGE: 'another'}
        self.assertIs(False, self.cache())

    def test_images_that_get_no_base(self):
        for change in (
                lambda: self.image.update(disk_format='iso'),
                lambda: self.image['properties'].update(
                    flexmem_policy='disabled'),
                lambda: setattr(self.bases._group, 'share_scope', 'project')):
            change()
            self.assertIsNone(self.cache())
        self.assertEqual([], self.built)


class LayoutTest(testtools.TestCase):
    """The base that a delta can lie on, with two hosts' stores."""

    def setUp(self):
        super().setUp()
        self.here, self.there = (
            bases.Bases(types.SimpleNamespace(
                store_path=self.useFixture(fixtures.TempDir()).path,
                **test_imagebases.BUILDS,
                share_scope='host', rootfs='auto'), self)
            for _host in range(2))
        self.publish(self.there, _KEY)
        self.record = dataclasses.replace(
            test_record.RECORD, base_key=_KEY, rootfs='erofs',
            root_sha256=self.there.store.require(_KEY).layout)
        self.hosts = []
        self.asked = []
        self.built = []
        self.patch(bases.bring, 'hosts_with', lambda *_args: self.hosts)
        self.patch(bases.bring.libvirt_utils, 'copy_image', self.copy)
        self.patch(imagebases.worker, 'call', self.work)
        self.patch(images, 'fetch', lambda _context, _id, path, _certs:
                   open(path, 'x').close())

    @staticmethod
    def publish(host, key, **facts):
        samples.publish(host.store, key, **{
            'image_sha256': test_record.RECORD.image_sha256,
            'rootfs_asked': 'auto', 'boot_id': bootfiles.boot_id()} | facts)

    def get(self, _context, _image_id):
        return {'disk_format': 'qcow2'}

    def copy(self, source, target, host, receive):
        self.assertTrue(receive)
        if host not in self.asked:
            self.asked.append(host)
        if host != 'there':
            raise processutils.ProcessExecutionError('no such file')
        shutil.copy(source.replace(self.here.store.path,
                                   self.there.store.path), target)

    def work(self, task, _group, key=None, folder=None, name=None,
             **arguments):
        """Do what a worker does, but for the building itself."""
        if task == 'check':
            self.here.store.ensure_verified(key)
        elif task == 'verify':
            basefiles.Base(folder).verify()
        else:
            self.built.append(arguments.get('minimum_format', 'renewed'))
            self.publish(self.here, 'b' * 32, content=b'another layout')
            self.here.store.set_name(name, 'b' * 32)
            return ({'key': 'b' * 32, 'new': True} if task == 'build'
                    else 'b' * 32)
        return None

    def of_record(self, from_host=None, **changes):
        return self.here.of_record(
            None, _INSTANCE, dataclasses.replace(self.record, **changes),
            from_host)

    def of_snapshot(self, **changes):
        return self.here.of_snapshot(None, _INSTANCE, dataclasses.replace(
            layered.Wanted.of(self.record), **changes))

    def assert_other_layout(self, base, built=2):
        self.assertNotEqual(self.record.root_sha256, base.layout)
        self.assertEqual(2, base.manifest.format)
        self.assertEqual([built], self.built)

    def test_this_host_first(self):
        self.publish(self.here, _KEY)
        self.hosts = ['there']
        self.assertEqual(_KEY, self.of_record(from_host='there').key)
        self.assertEqual([], self.asked)

    def test_equal_under_another_key(self):
        """Bases of format 1 had keys that did not name the layout."""
        self.publish(self.here, 'c' * 32, format=1, rootfs_asked='')
        self.assertEqual('c' * 32, self.of_record().key)

    def test_the_host_that_it_comes_from_then(self):
        self.hosts = ['other']
        self.assertEqual(_KEY, self.of_record(from_host='there').key)
        self.assertEqual(['there'], self.asked)
        self.assertEqual([_KEY], self.here.store.keys())

    def test_any_host_that_has_it_then(self):
        self.hosts = ['other', 'there', 'third']
        self.assertEqual(_KEY, self.of_record(from_host='first').key)
        self.assertEqual(['first', 'other', 'there'], self.asked)
        self.assertEqual([], self.built)

    def test_another_layout_at_last(self):
        self.hosts = ['other']
        self.assert_other_layout(self.of_record())
        self.assertEqual(['other'], self.asked)

    def test_another_layout_under_the_same_key_is_not_taken(self):
        """As keys of format 1 can have, on hosts of other releases."""
        for host in (self.here, self.there):
            if host.store.keys():
                host.store.remove(_KEY)
            self.publish(host, _KEY, content=b'other numbers', format=1)
        self.hosts = ['there']
        self.assert_other_layout(self.of_record(from_host='there'))
        self.assertEqual(['there'], self.asked)
        self.assertEqual([_KEY, 'b' * 32], self.here.store.keys())

    def test_another_layout_stays_under_the_key_of_the_right_one(self):
        """Other instances of this host may use it."""
        self.publish(self.here, _KEY, content=b'other numbers', format=1)
        self.assert_other_layout(self.of_record(from_host='there'))
        self.assertEqual([_KEY, 'b' * 32], self.here.store.keys())

    def test_a_name_that_stands_for_format_1_is_not_followed(self):
        self.publish(self.here, 'c' * 32, content=b'other', format=1)
        self.here.store.set_name(f'{self.record.image_id}.auto', 'c' * 32)
        self.assertEqual('c' * 32, self.here.of_image(
            None, _INSTANCE, self.record.image_id).key)
        self.assert_other_layout(self.of_record(), 'renewed')

    def name(self, key):
        self.here.store.set_name(f'{self.record.image_id}.auto', key)

    def test_a_snapshot_on_the_base_that_the_image_has_here(self):
        self.publish(self.here, _KEY)
        self.name(_KEY)
        self.assertEqual(_KEY, self.of_snapshot().key)
        self.assertEqual(([], []), (self.asked, self.built))

    def test_a_snapshot_of_another_layout(self):
        self.publish(self.here, 'c' * 32, content=b'another layout')
        self.name('c' * 32)
        self.hosts = ['there']
        self.assertEqual(_KEY, self.of_snapshot().key)
        self.assertEqual((['there'], []), (self.asked, self.built))
        self.here.store.remove(_KEY)
        self.hosts = []
        self.assertEqual('c' * 32, self.of_snapshot().key)

    def test_a_snapshot_that_knows_no_layout(self):
        """Format 1 would be a layout of which nothing is known."""
        self.publish(self.here, 'c' * 32, format=1)
        self.name('c' * 32)
        base = self.of_snapshot(layout=None, base_key=None)
        self.assertEqual('b' * 32, base.key)
        self.assertEqual(([], ['renewed']), (self.asked, self.built))

    def test_a_snapshot_that_knows_no_layout_on_ext4(self):
        """The checksums of that base hold its uuid."""
        self.publish(self.here, 'c' * 32, format=1, rootfs='ext4')
        self.name('c' * 32)
        base = self.of_snapshot(layout=None, base_key=None, rootfs=None)
        self.assertEqual('b' * 32, base.key)
        self.assertEqual(([], [2]), (self.asked, self.built))

    def test_a_snapshot_opens_no_base_of_another_project(self):
        self.there.store.remove(_KEY)
        for host in (self.here, self.there):
            self.publish(host, _KEY, scope='another')
        self.hosts = ['there']
        self.assertEqual('b' * 32, self.of_snapshot().key)
        # what the host itself recorded is taken
        self.assertEqual(_KEY, self.of_record().key)

    def test_a_snapshot_opens_no_base_of_another_image(self):
        """A tenant can write any digests into the properties."""
        self.there.store.remove(_KEY)
        for host in (self.here, self.there):
            self.publish(host, _KEY, image_sha256='7' * 64)
        self.hosts = ['there']
        e = self.assertRaises(exception.ImageRefused, self.of_snapshot,
                              image_sha256='7' * 64)
        self.assertIn('not the image', str(e))
        self.assertEqual([], self.asked)

    def test_another_image(self):
        self.hosts = ['there']
        e = self.assertRaises(exception.ImageRefused, self.of_record,
                              image_sha256='7' * 64)
        self.assertIn('not the image', str(e))

    def damage(self, host):
        path = host.store.require(_KEY).file(basefiles.ROOT_PMEM)
        os.chmod(path, 0o644)
        with open(path, 'r+b') as f:
            f.write(b'x')
        os.chmod(path, 0o444)

    def test_a_damaged_base_is_brought_anew(self):
        self.publish(self.here, _KEY)
        self.here.use(self.here.store.require(_KEY), _INSTANCE)
        self.damage(self.here)
        self.hosts = ['there']
        base = self.of_record()
        self.assertEqual(_KEY, base.key)
        base.verify()
        self.assertEqual([_INSTANCE.uuid], self.here.store.users(_KEY))
        self.assertEqual([], self.built)

    def test_a_damaged_base_is_not_brought(self):
        self.damage(self.there)
        self.hosts = ['there']
        self.assert_other_layout(self.of_record())
        self.assertEqual(['b' * 32], self.here.store.keys())

    def test_bases_that_nobody_uses_make_room(self):
        self.publish(self.here, '1' * 32, image_sha256='7' * 64)
        asked = []
        self.patch(bases.bring.room, 'make_room', lambda store, *sizes: (
            asked.append(sizes), store.remove('1' * 32)))
        self.hosts = ['there']
        self.of_record()
        self.assertEqual([_KEY], self.here.store.keys())
        files = self.there.store.require(_KEY).manifest.files.values()
        self.assertEqual([(sum(file.size_bytes for file in files), 1 << 30)],
                         asked)

    def test_use_gives_what_guests_boot(self):
        self.publish(self.here, _KEY)
        boot = self.here.use(self.here.store.require(_KEY), _INSTANCE)
        self.assertEqual(self.here.store.require(_KEY).file('kernel'),
                         boot.kernel)

    def test_use_while_the_package_is_replaced(self):
        """The worker's code is newer than that of this nova-compute."""
        self.publish(self.here, _KEY, boot_id='that of the new package')
        self.patch(bases.worker, 'call', lambda task, _group, key: (
            f'/boot/{task}/{key}'))
        boot = self.here.use(self.here.store.require(_KEY), _INSTANCE)
        self.assertEqual(f'/boot/check/{_KEY}/kernel', boot.kernel)
