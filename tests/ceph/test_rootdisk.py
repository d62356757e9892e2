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

"""Root disks and records in a real Ceph, without guests."""

import contextlib
import hashlib
import os
import random
import subprocess
from unittest import mock
import uuid

import fixtures
import nova.conf
from nova import exception as nova_exception
from nova.storage import rbd_utils
from nova.virt.libvirt import imagebackend
from oslo_config import fixture as config_fixture
import testtools

from nova_flexmem import exception
from nova_flexmem.host import ceph
from nova_flexmem.virt import layered
from nova_flexmem.virt import mark
from nova_flexmem.virt import rbddisk
from nova_flexmem.virt import record as record_module
from nova_flexmem.virt import rootdisk
from tests.ceph import cluster as ceph_cluster

MIB = 1 << 20

RECORD = record_module.Record(
    base_key='a' * 32, root_sha256='b' * 64, image_id=str(uuid.uuid4()),
    image_sha256='c' * 64, device='nvdimm', writes='disk', direct_paths=[],
    rootfs='erofs')


class CephTest(testtools.TestCase):
    """With a Ceph, and Nova set to it."""

    def setUp(self):
        super().setUp()
        reason = ceph_cluster.why_not()
        if reason:
            self.skipTest(reason)
        self.cluster = ceph_cluster.shared()
        self.addCleanup(self._assert_pools_are_empty)
        self.instances = self.useFixture(fixtures.TempDir()).path
        self.conf = self.useFixture(
            config_fixture.Config(nova.conf.CONF)).conf
        self.conf.set_override('instances_path', self.instances)
        for name, value in (
                ('images_type', 'rbd'),
                ('images_rbd_pool', ceph_cluster.POOL),
                ('images_rbd_ceph_conf', self.cluster.conf),
                ('rbd_user', ceph_cluster.USER),
                ('rbd_destroy_volume_retry_interval', 1)):
            self.conf.set_override(name, value, 'libvirt')

    def _assert_pools_are_empty(self):
        left = {name for pool in (ceph_cluster.POOL, ceph_cluster.IMAGES_POOL)
                for name in self.cluster.images(pool)}
        self.cluster.purge()
        self.assertEqual(set(), left)

    def instance(self, **fields):
        instance = mock.Mock(**{
            'uuid': str(uuid.uuid4()), 'task_state': None, 'vm_state': None,
            'image_ref': RECORD.image_id, 'system_metadata': {}} | fields)
        os.mkdir(os.path.join(self.instances, instance.uuid))
        self.addCleanup(self.disk(instance).remove)
        return instance

    def disk(self, instance):
        return rbddisk.RbdDisk(instance, imagebackend.Rbd(
            instance=instance, disk_name='disk'))

    def made(self, size_bytes=256 * MIB, **fields):
        instance = self.instance(**fields)
        self.assertTrue(rootdisk.provide(self.disk(instance), size_bytes,
                                         RECORD))
        return instance

    def image(self, instance):
        return f'{ceph_cluster.POOL}/{instance.uuid}_disk'

    def exported(self, instance):
        """Return the path of a copy of an instance's disk."""
        path = os.path.join(self.instances, 'exported')
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self.cluster.rbd('export', self.image(instance), path)
        return path

    def check(self, path):
        subprocess.run(['/sbin/e2fsck', '-fn', path], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class MakingTest(CephTest):

    def test_an_empty_delta(self):
        instance = self.made()
        self.assertEqual({f'{instance.uuid}_disk'}, self.cluster.images())
        self.assertEqual([], os.listdir(os.path.join(self.instances,
                                                     instance.uuid)))
        self.assertEqual(256 * MIB, self.cluster.size(self.image(instance)))
        self.check(self.exported(instance))
        self.assertEqual(RECORD, self.disk(instance).record())

    def test_holes_are_not_written(self):
        instance = self.made(20 << 30)
        used = self.cluster.used(self.image(instance))
        self.assertLess(used, 128 * MIB)

    def test_whatever_a_file_has(self):
        numbers = random.Random(1)
        for size in (1, 4096, 4 * MIB, 9 * MIB + 1):
            instance = self.instance()
            path = os.path.join(self.instances, 'file')
            with open(path, 'wb') as f:
                f.truncate(size)
                for _ in range(3):
                    f.seek(numbers.randrange(size))
                    f.write(numbers.randbytes(numbers.randrange(2 * MIB))[
                        :size - f.tell()])
            with self.disk(instance).publishing(size, RECORD) as made:
                os.rename(path, made)
                with open(made, 'rb') as f:
                    wanted = hashlib.file_digest(f, 'sha256').digest()
            with open(self.exported(instance), 'rb') as f:
                self.assertEqual(
                    wanted, hashlib.file_digest(f, 'sha256').digest())

    def test_one_that_is_there_grows_and_is_never_cut(self):
        instance = self.made()
        for size, wanted in ((300, 300), (100, 300)):
            self.assertFalse(rootdisk.provide(self.disk(instance), size * MIB,
                                              RECORD))
            self.assertEqual(wanted * MIB,
                             self.cluster.size(self.image(instance)))
        self.check(self.exported(instance))

    def test_what_a_killed_nova_compute_left(self):
        instance = self.instance()
        self.cluster.rbd('create', '--size', '9M',
                         f'{self.image(instance)}.new')
        rootdisk.provide(self.disk(instance), 256 * MIB, RECORD)
        self.assertEqual({f'{instance.uuid}_disk'}, self.cluster.images())
        self.check(self.exported(instance))

    def test_one_that_fails_leaves_nothing(self):
        instance = self.instance()
        self.assertRaises(exception.ProgramFailed, rootdisk.provide,
                          self.disk(instance), 1, RECORD)
        interrupted = mock.Mock(side_effect=KeyboardInterrupt)
        with mock.patch.object(rbd_utils.RbdProxy, 'rename', interrupted,
                               create=True):
            self.assertRaises(KeyboardInterrupt, rootdisk.provide,
                              self.disk(instance), 256 * MIB, RECORD)
        self.assertEqual(set(), self.cluster.images())


class LayeredTest(CephTest):
    """Layered snapshots within Ceph, with Glance's part in them played."""

    def setUp(self):
        super().setUp()
        self.images = {}
        api = mock.Mock()
        api.get = lambda _context, image_id, include_locations: (
            self.images[image_id])
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.imagebackend.IMAGE_API', api))

    def upload(self, image_id):
        name = f'{ceph_cluster.IMAGES_POOL}/{image_id}'
        self.cluster.rbd('create', '--size', '8M', name)
        self.cluster.rbd('snap', 'create', f'{name}@snap')
        self.cluster.rbd('snap', 'protect', f'{name}@snap')
        self.addCleanup(self.remove, image_id)
        self.images[image_id] = {'disk_format': 'raw', 'locations': [{
            'url': f'rbd://{self.cluster.fsid}/{name}/snap'}]}

    def remove(self, image_id):
        name = f'{ceph_cluster.IMAGES_POOL}/{image_id}'
        self.cluster.rbd('snap', 'unprotect', f'{name}@snap')
        self.cluster.rbd('snap', 'purge', name)
        self.cluster.rbd('rm', name)

    def snapshot(self, instance):
        """Take a snapshot as Nova does; return its id."""
        image_id = str(uuid.uuid4())
        location = imagebackend.Rbd(
            instance=instance, disk_name='disk').direct_snapshot(
                None, 'temporary', 'raw', image_id, instance.image_ref)
        self.images[image_id] = {'disk_format': 'raw', 'locations': [
            {'url': location}]}
        return image_id

    def test_cloned(self):
        self.upload(RECORD.image_id)
        source = self.made()
        self.disk(source).check_snapshot_of_running(None)
        image_id = self.snapshot(source)
        self.addCleanup(self.remove, image_id)

        clone = self.instance()
        own = record_module.Record(**vars(RECORD) | {'base_key': 'd' * 32})
        self.assertTrue(self.disk(clone).clone(None, image_id, 512 * MIB,
                                               own))
        self.assertEqual(own, self.disk(clone).record())
        # its source's record is not believed, and is gone
        self.assertNotIn(source.uuid, self.cluster.rbd(
            'image-meta', 'list', self.image(clone)))
        self.assertEqual(512 * MIB, self.cluster.size(self.image(clone)))
        self.check(self.exported(clone))
        self.assertIn(clone.uuid, self.cluster.rbd(
            'children', f'{ceph_cluster.IMAGES_POOL}/{image_id}@snap'))
        self.disk(clone).remove()

    def test_one_that_is_unshelved_stands_on_its_own(self):
        self.upload(RECORD.image_id)
        source = self.made(vm_state='shelved_offloaded')
        image_id = self.snapshot(source)
        self.disk(source).remove()
        self.assertTrue(self.disk(source).clone(None, image_id, 256 * MIB,
                                                RECORD))
        self.remove(image_id)  # Nova does
        self.check(self.exported(source))

    def test_a_flavor_that_is_too_small(self):
        self.upload(RECORD.image_id)
        image_id = self.snapshot(self.made())
        self.addCleanup(self.remove, image_id)
        clone = self.instance()
        self.assertRaises(nova_exception.FlavorDiskSmallerThanImage,
                          self.disk(clone).clone, None, image_id, 99 * MIB,
                          RECORD)
        self.assertFalse(self.disk(clone).exists())
        self.assertNotIn(clone.uuid, ' '.join(self.cluster.images()))

    def test_an_image_that_is_not_in_this_ceph(self):
        source = self.made()
        for image in ({'disk_format': 'qcow2', 'locations': []},
                      {'disk_format': 'raw', 'locations': [
                          {'url': 'file:///images/x'}]},
                      {'disk_format': 'raw', 'locations': [
                          {'url': f'rbd://{uuid.uuid4()}/images/x/snap'}]}):
            self.images[RECORD.image_id] = image
            e = self.assertRaises(
                exception.InstanceRefused,
                self.disk(source).check_snapshot_of_running, None)
            self.assertIn('stop it first', str(e))
            clone = self.instance()
            self.assertFalse(self.disk(clone).clone(
                None, RECORD.image_id, 256 * MIB, RECORD))
            self.assertFalse(self.disk(clone).exists())


class RecordTest(CephTest):

    def marked(self, **fields):
        return self.made(system_metadata={layered.SYSTEM_KEY: RECORD.image_id},
                         **fields)

    def forget(self, instance):
        self.cluster.rbd('image-meta', 'remove', self.image(instance),
                         f'nova-flexmem:{instance.uuid}')

    def test_it_goes_where_the_disk_goes(self):
        instance = self.marked()
        self.assertEqual(RECORD, mark.record_of(instance))
        os.rmdir(os.path.join(self.instances, instance.uuid))
        self.assertEqual(RECORD, mark.record_of(instance))

    def test_a_disk_without_a_record_is_never_taken_for_stock(self):
        instance = self.marked()
        self.forget(instance)
        for there in (True, False):
            e = self.assertRaises(exception.RecordUnusable, mark.record_of,
                                  instance)
            self.assertIn(instance.uuid, str(e))
            RECORD.write(os.path.join(self.instances, instance.uuid))
        # the way out that it names
        self.cluster.rbd('image-meta', 'set', self.image(instance),
                         f'nova-flexmem:{instance.uuid}', RECORD.text())
        self.assertEqual(RECORD, mark.record_of(instance))

    def test_a_stock_instance(self):
        instance = self.instance()
        self.cluster.rbd('create', '--size', '9M', self.image(instance))
        self.assertIsNone(mark.record_of(instance, ask=True))
        with mock.patch.object(rbd_utils, 'RBDVolumeProxy',
                               autospec=True) as asked:
            self.assertIsNone(mark.record_of(instance))
        asked.assert_not_called()

    def test_a_mark_that_is_missing(self):
        """nova-compute ended before the instance was saved."""
        instance = self.made()
        self.assertEqual(RECORD, mark.record_of(instance, ask=True))
        RECORD.write(os.path.join(self.instances, instance.uuid))
        self.assertEqual(RECORD, mark.record_of(instance))

    def test_the_disk_knows_better_than_the_folder(self):
        instance = self.marked()
        older = record_module.Record(**vars(RECORD) | {'base_key': 'd' * 32})
        folder = os.path.join(self.instances, instance.uuid)
        older.write(folder)
        self.assertEqual(RECORD, mark.record_of(instance))
        self.disk(instance).write_record(older)
        self.assertEqual(older, mark.record_of(instance))
        self.assertEqual(older, record_module.read(folder))
        with open(os.path.join(folder, record_module.NAME), 'w') as f:
            f.write('{')
        self.assertEqual(older, mark.record_of(instance))

    def test_a_ceph_that_does_not_answer(self):
        instance = self.marked()
        RECORD.write(os.path.join(self.instances, instance.uuid))
        self.conf.set_override('rbd_user', 'nobody', 'libvirt')
        self.assertEqual(RECORD, mark.record_of(instance))
        os.unlink(os.path.join(self.instances, instance.uuid,
                               record_module.NAME))
        e = self.assertRaises(exception.RecordUnusable, mark.record_of,
                              instance)
        self.assertIn('Ceph', str(e))
        self.conf.set_override('rbd_user', ceph_cluster.USER, 'libvirt')

    def test_one_that_writes_to_memory(self):
        instance = self.instance(
            system_metadata={layered.SYSTEM_KEY: RECORD.image_id})
        self.assertRaises(exception.RecordUnusable, mark.record_of, instance)
        memory = record_module.Record(**vars(RECORD) | {'writes': 'memory'})
        self.disk(instance).write_record(memory)
        self.assertEqual(memory, mark.record_of(instance))
        self.assertEqual(set(), self.cluster.images())

    def test_a_resize_and_its_revert(self):
        instance = self.marked()
        folder = os.path.join(self.instances, instance.uuid)
        RECORD.write(folder)
        backend = imagebackend.Rbd(instance=instance, disk_name='disk')
        for _ in range(2):  # the second after a failed one
            disk = self.disk(instance)
            disk.begin_resize()
        rootdisk.provide(disk, 512 * MIB, RECORD)
        # the destination has another layout
        disk.write_record(record_module.Record(
            **vars(RECORD) | {'root_sha256': 'e' * 64}))
        RECORD.write(folder)  # the source's folder comes back
        backend.rollback_to_snap('nova-resize')
        backend.remove_snap('nova-resize')
        instance.task_state = 'resize_reverting'
        self.assertEqual(RECORD, mark.record_of(instance))
        self.assertEqual(256 * MIB, self.cluster.size(self.image(instance)))

    def test_a_disk_that_did_not_come_along(self):
        instance = self.instance()
        e = self.assertRaises(exception.InstanceRefused,
                              self.disk(instance).begin_resize)
        self.assertIn('images_type', str(e))
        self.assertEqual(set(), self.cluster.images())


class HostTest(CephTest):
    """What the preflight says."""

    def check(self, **changes):
        return ceph.check(ceph.Ceph(**{
            'pool': ceph_cluster.POOL, 'conf': self.cluster.conf,
            'user': ceph_cluster.USER, 'secret': None, 'timeout_s': 5,
            'uri': 'test:///default'} | changes))

    def assert_unfit(self, words, **changes):
        e = self.assertRaises(exception.HostUnfit, self.check, **changes)
        self.assertIn(words, str(e))

    def test_check(self):
        self.assert_unfit('rbd_secret_uuid is not')
        self.assert_unfit('does not have the secret', secret=str(uuid.uuid4()))
        self.assert_unfit('no pool nowhere', pool='nowhere')
        self.assert_unfit('ceph', user='nobody')
        self.assert_unfit('ceph', conf='/nowhere/ceph.conf')
