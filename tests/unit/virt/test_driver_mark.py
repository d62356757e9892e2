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

"""The mark in the system metadata, which lives as long as the delta."""

import os
import subprocess

from nova.compute import task_states
from nova.compute import vm_states
from nova import exception as nova_exception

from nova_flexmem.virt import layered
from tests.unit.virt import driver_test


class FailedSpawnTest(driver_test.DriverTest):

    def setUp(self):
        super().setUp()
        self.driver._create_guest_with_network = self.fail_to_start
        self.driver.instance_exists = lambda _instance: self.runs
        self.runs = False

    def fail_to_start(self, *_args, **_kwargs):
        raise nova_exception.VirtualInterfaceCreateException()

    def failed(self, mark=False, **fields):
        instance = self.instance(**fields)
        if mark:
            instance.system_metadata[layered.SYSTEM_KEY] = driver_test.IMAGE
        self.assertRaises(nova_exception.VirtualInterfaceCreateException,
                          self.spawn, instance)
        self.assertEqual({}, self.driver._plans)
        return layered.SYSTEM_KEY in instance.system_metadata, instance

    def assert_nothing_left(self, instance):
        self.assertFalse(os.path.exists(self.folder(instance)))
        self.assertEqual([], self.store.users(driver_test.KEY))

    def test_of_a_new_instance(self):
        for mark in (False, True):  # by a host of an older version
            marked, instance = self.failed(mark,
                                           vm_state=vm_states.BUILDING)
            self.assertFalse(marked)
            self.assert_nothing_left(instance)

    def test_of_one_that_is_evacuated(self):
        marked, instance = self.failed(
            True, vm_state=vm_states.ACTIVE, host='dead',
            task_state=task_states.REBUILD_SPAWNING)
        self.assertTrue(marked)
        self.assert_nothing_left(instance)

    def test_of_one_that_is_rebuilt(self):
        marked, instance = self.failed(
            True, vm_state=vm_states.ACTIVE, host=driver_test.CONF.host,
            task_state=task_states.REBUILD_SPAWNING)
        self.assertFalse(marked)
        self.assert_nothing_left(instance)

    def test_of_one_whose_guest_is_there(self):
        self.runs = True
        marked, instance = self.failed(
            True, vm_state=vm_states.ACTIVE, host=driver_test.CONF.host,
            task_state=task_states.REBUILD_SPAWNING)
        self.assertTrue(marked)
        self.assertEqual([instance.uuid], self.store.users(driver_test.KEY))

    def test_of_disks_that_were_there(self):
        """Evacuated over shared storage: they are all that there is."""
        del self.driver._create_guest_with_network
        self.driver._create_guest_with_network = self.start
        instance = self.spawned()
        self.driver._create_guest_with_network = self.fail_to_start
        self.assertRaises(nova_exception.VirtualInterfaceCreateException,
                          self.spawn, instance)
        self.assertIsNotNone(self.record(instance))
        self.assertIn(layered.SYSTEM_KEY, instance.system_metadata)


class StaleMarkTest(driver_test.DriverTest):
    """Marks that older versions left on stock instances."""

    def setUp(self):
        super().setUp()
        self.stub_out('nova.virt.libvirt.utils.copy_image', None)
        self.stub_out('nova.virt.libvirt.LibvirtDriver'
                      '.migrate_disk_and_power_off', lambda *_args, **_: '[]')

    def marked(self, disk=None, **fields):
        instance = self.instance(self.flavor(), **fields)
        instance.system_metadata[layered.SYSTEM_KEY] = driver_test.IMAGE
        os.mkdir(self.folder(instance))
        if disk:
            disk(os.path.join(self.folder(instance), 'disk'))
        return instance

    @staticmethod
    def raw(path):
        with open(path, 'wb') as f:
            f.truncate(1 << 20)

    @staticmethod
    def empty(path):
        open(path, 'wb').close()

    @staticmethod
    def ext4(path):
        """The disk of an image that is one filesystem, without partitions."""
        subprocess.run(['mke2fs', '-q', '-t', 'ext4', '-L', 'cloudimg-rootfs',
                        path, '16M'], check=True)

    @staticmethod
    def qcow2(path):
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', path,
                        '16M'], check=True)

    @classmethod
    def overlay(cls, path):
        """As Nova makes them; its base is gone, which is another story."""
        base = f'{path}.base'
        cls.raw(base)
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', '-F',
                        'raw', '-b', base, path], check=True)
        os.unlink(base)

    def disks(self):
        for images_type, makers in (
                ('flat', (self.raw, self.empty, self.ext4)),
                ('qcow2', (self.qcow2, self.overlay))):
            self.flags(images_type=images_type, group='libvirt')
            yield from makers

    def assert_stock(self, instance):
        self.assertNotIn('flexmem-delta', self.xml(instance))
        self.assertNotIn(layered.SYSTEM_KEY, instance.system_metadata)

    def test_hard_reboot(self):
        for disk in self.disks():
            self.assert_stock(self.marked(disk))

    def test_migration(self):
        for disk in self.disks():
            instance = self.marked(disk)
            self.assertEqual('[]', self.driver.migrate_disk_and_power_off(
                self.context, instance, '192.0.2.7', instance.flavor,
                self.network))
            self.assertNotIn(layered.SYSTEM_KEY, instance.system_metadata)

    def test_evacuation_over_shared_storage(self):
        self.stub_out('nova.virt.libvirt.LibvirtDriver'
                      '._create_and_inject_local_root',
                      lambda *_args, **_kwargs: False)
        instance = self.spawn(self.marked(self.raw))
        self.assertNotIn('flexmem-delta', self.domains[0])
        self.assertNotIn(layered.SYSTEM_KEY, instance.system_metadata)

    def test_of_one_that_boots_from_a_volume(self):
        self.assert_stock(self.marked(image_ref=''))

    def test_of_disks_elsewhere(self):
        self.flags(images_type='lvm', group='libvirt')
        instance = self.marked()
        self.assertIsNone(self.driver._record(instance))
        self.assertNotIn(layered.SYSTEM_KEY, instance.system_metadata)

    def test_a_delta_without_its_record_is_none(self):
        for images_type in ('flat', 'qcow2'):
            self.flags(images_type=images_type, group='libvirt')
            instance = self.spawn(self.instance())
            os.unlink(os.path.join(self.folder(instance), 'flexmem.json'))
            destroyed = []
            self.driver._destroy = lambda *_: destroyed.append(1)
            for call in (lambda: self.xml(instance),
                         lambda: self.driver._hard_reboot(
                             self.context, instance, self.network)):
                e = self.assertRaises(nova_exception.Invalid, call)
                self.assertIn('it is missing', str(e))
            self.assertEqual([], destroyed)
            self.assertIn(layered.SYSTEM_KEY, instance.system_metadata)

    def test_no_disk_and_no_record(self):
        """One that writes to memory has nothing else to know it by."""
        e = self.assertRaises(nova_exception.Invalid, self.xml, self.marked())
        self.assertIn('it is missing', str(e))

    def test_a_mark_that_is_missing(self):
        """nova-compute ended before the instance was saved."""
        instance = self.spawned()
        del instance.system_metadata[layered.SYSTEM_KEY]
        self.xml(instance)
        self.assertEqual(driver_test.IMAGE,
                         instance.system_metadata[layered.SYSTEM_KEY])
