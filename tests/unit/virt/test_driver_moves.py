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
import shutil

from nova.compute import task_states
from nova.compute import vm_states
from nova import exception as nova_exception

from nova_flexmem.virt import layered
from tests.unit.virt import driver_test


class LayeredTest(driver_test.DriverTest):
    """Instances that boot from a layered snapshot of another one."""

    def setUp(self):
        super().setUp()
        self.flags(image_policy='allow', group='flexmem')
        self.first = self.spawned()
        self.delta = os.path.join(self.folder(self.first), 'disk')
        with open(self.delta, 'r+b') as f:
            f.seek(1 << 20)
            f.write(b'of the first instance')
        self.stub_out('nova.virt.images.fetch',
                      lambda _context, _id, path, _certs: shutil.copy(
                          self.delta, path))
        del self.domains[:]

    def boot(self, policy=None, vm_state=None, **properties):
        image_id, meta = self.snapshot_in_glance(self.first, **properties)
        flavor = self.flavor(**{'flexmem__policy': policy} if policy else {})
        instance = self.instance(
            flavor, image_ref=image_id, id=2,
            uuid='5f0b9d6e-8f0e-4b6c-a1f4-3b8a6d3c2e10',
            vm_state=vm_state or vm_states.BUILDING)
        if vm_state:
            instance.system_metadata[layered.SYSTEM_KEY] = driver_test.IMAGE
        self.second = instance
        return self.spawn(instance, meta)

    def assert_boots(self, instance, key=driver_test.KEY):
        record = self.record(instance)
        self.assertEqual((key, driver_test.IMAGE),
                         (record.base_key, record.image_id))
        with open(os.path.join(self.folder(instance), 'disk'), 'rb') as f:
            f.seek(1 << 20)
            self.assertEqual(b'of the first instance', f.read(21))
        self.assertIn('flexmem-delta', self.domains[0])

    def test_whatever_the_flavor_says_of_flexmem(self):
        self.assert_boots(self.boot())
        self.assertEqual([], self.events)

    def test_not_where_neither_flavor_nor_host_offer_it(self):
        for image_policy in ('narrow', 'ignore'):
            self.flags(image_policy=image_policy, group='flexmem')
            e = self.assertRaises(nova_exception.ImageUnacceptable, self.boot)
            self.assertIn('use a flavor with flexmem:policy', str(e))
        self.assertEqual([], self.domains)

    def test_where_flavor_or_host_offer_it(self):
        for image_policy in ('narrow', 'ignore'):
            self.flags(image_policy=image_policy, group='flexmem')
            for policy, default in (('preferred', 'disabled'),
                                    ('required', 'disabled'),
                                    (None, 'preferred')):
                self.flags(default_policy=default, group='flexmem')
                self.assert_boots(self.boot(policy))
                shutil.rmtree(self.folder(self.second))
                del self.domains[:]

    def test_unshelved_where_it_is_not_offered_any_more(self):
        self.flags(image_policy='narrow', group='flexmem')
        self.assert_boots(self.boot(vm_state=vm_states.SHELVED_OFFLOADED))

    def test_on_the_very_layout(self):
        """Though new instances of the image get another one by now."""
        self.publish(driver_test.OTHER_KEY, content=b'another layout')
        self.assert_boots(self.boot())
        self.assertEqual([], self.events)

    def test_on_another_layout(self):
        image_id, meta = self.snapshot_in_glance(self.first)
        self.store.release(driver_test.KEY, self.first.uuid)
        self.store.remove(driver_test.KEY)
        self.publish(driver_test.OTHER_KEY, content=b'another layout')
        instance = self.spawn(self.instance(
            self.flavor(), image_ref=image_id, id=2,
            uuid='5f0b9d6e-8f0e-4b6c-a1f4-3b8a6d3c2e10'), meta)
        self.assert_boots(instance, driver_test.OTHER_KEY)
        self.assertEqual(['flexmem_other_layout'], self.events)

    def test_of_a_version_without_layouts(self):
        instance = self.boot(**{layered.LAYOUT: '', layered.BASE_KEY: ''})
        self.assert_boots(instance)
        self.assertEqual(['flexmem_other_layout'], self.events)

    def test_unshelved(self):
        self.assert_boots(self.boot(vm_state=vm_states.SHELVED_OFFLOADED))

    def test_unshelving_that_fails(self):
        """Its snapshot is there still, and the mark opens the image below."""
        def fail(*_args, **_kwargs):
            raise nova_exception.VirtualInterfaceCreateException()

        self.driver._create_guest_with_network = fail
        self.driver.instance_exists = lambda _instance: False
        self.assertRaises(nova_exception.VirtualInterfaceCreateException,
                          self.boot, vm_state=vm_states.SHELVED_OFFLOADED)
        self.assertEqual(driver_test.IMAGE,
                         self.second.system_metadata[layered.SYSTEM_KEY])
        self.assertFalse(os.path.exists(self.folder(self.second)))
        self.assertEqual([self.first.uuid],
                         self.store.users(driver_test.KEY))

    def test_there_is_no_falling_back(self):
        self.set_fit(False)
        self.assertRaises(nova_exception.ComputeResourcesUnavailable,
                          self.boot, 'preferred')
        self.assertEqual([], self.domains)

    def test_not_with_flexmem_disabled(self):
        e = self.assertRaises(nova_exception.ImageUnacceptable, self.boot,
                              'disabled')
        self.assertIn('flatten it', str(e))

    def test_not_on_another_image_than_its_own(self):
        e = self.assertRaises(nova_exception.ImageUnacceptable, self.boot,
                              **{layered.BASE_SHA256: '6' * 64})
        self.assertIn('not the image that the delta lies on', str(e))
        self.assertEqual([], self.domains)


class RestoredTest(driver_test.DriverTest):
    """Stock instances whose disk comes out of a snapshot, and is then gone."""

    def setUp(self):
        super().setUp()
        self.stub_out('nova.virt.libvirt.LibvirtDriver'
                      '._create_and_inject_local_root',
                      lambda *_args, **_kwargs: True)

    def restored(self, specs=None, mark=False, **fields):
        instance = self.instance(
            self.flavor(**specs or {'flexmem__policy': 'preferred'}),
            **{'vm_state': vm_states.SHELVED_OFFLOADED} | fields)
        if mark:
            instance.system_metadata[layered.SYSTEM_KEY] = driver_test.IMAGE
        return self.spawn(instance)

    def assert_stock(self, instance):
        xml, = self.domains
        self.assertNotIn('flexmem-delta', xml)
        self.assertIsNone(self.record(instance))
        self.assertEqual([], self.store.users(driver_test.KEY))
        self.assertNotIn(layered.SYSTEM_KEY, instance.system_metadata)

    def test_unshelved(self):
        for specs in ({'flexmem__policy': 'preferred'},
                      {'flexmem__policy': 'required'},
                      {'flexmem__policy': 'disabled'}, {'hw__x': 'y'}):
            del self.domains[:]
            self.assert_stock(self.restored(specs))

    def test_unshelved_whatever_the_host_defaults_to(self):
        for default in ('disabled', 'preferred', 'required'):
            self.flags(default_policy=default, group='flexmem')
            del self.domains[:]
            self.assert_stock(self.restored({'hw__x': 'y'}))

    def test_unshelved_on_a_host_that_is_unfit(self):
        self.set_fit(False)
        self.assert_stock(self.restored({'flexmem__policy': 'required'}))

    def test_unshelved_with_a_mark_of_a_spawn_that_failed(self):
        self.assert_stock(self.restored(mark=True))

    def test_a_flexmem_instance_whose_snapshot_has_lost_its_properties(self):
        e = self.assertRaises(nova_exception.ImageUnacceptable, self.restored,
                              {'flexmem__policy': 'required'}, mark=True)
        self.assertIn('flexmem_base_image', str(e))
        self.assertEqual([], self.domains)

    def test_resized_across_cells(self):
        self.assert_stock(self.restored(
            vm_state=vm_states.ACTIVE, task_state=task_states.RESIZE_FINISH))

    def test_resized_across_cells_to_a_flavor_that_requires_it(self):
        e = self.assertRaises(
            nova_exception.ImageUnacceptable, self.restored,
            {'flexmem__policy': 'required'}, vm_state=vm_states.STOPPED,
            task_state=task_states.RESIZE_FINISH)
        self.assertIn('built with a stock root disk', str(e))


class MoveTest(driver_test.DriverTest):
    """What goes to another host with an instance."""

    def setUp(self):
        super().setUp()
        self.copied = []
        self.stub_out('nova.virt.libvirt.utils.copy_image', self.copy)
        self.stub_out('nova.virt.libvirt.LibvirtDriver'
                      '.migrate_disk_and_power_off', self.migrate)
        self.fails = False

    def migrate(self, driver, _context, instance, *_args, **_kwargs):
        os.rename(self.folder(instance), f'{self.folder(instance)}_resize')
        return '[]'

    def copy(self, source, target, host=None, **_kwargs):
        if self.fails:
            raise OSError(113, 'No route to host')
        self.copied.append((source, target, host))

    def move(self, instance):
        return self.driver.migrate_disk_and_power_off(
            self.context, instance, '192.0.2.7', instance.flavor,
            self.network)

    def test_the_record(self):
        instance = self.spawned()
        folder = self.folder(instance)
        self.assertEqual('[]', self.move(instance))
        self.assertEqual([(f'{folder}_resize/flexmem.json',
                           f'{folder}/flexmem.json', '192.0.2.7')],
                         self.copied)

    def test_it_comes_back_if_the_record_cannot_be_sent(self):
        """Without it the delta would be taken for a stock root disk."""
        undone = []
        self.stub_out('nova.virt.libvirt.LibvirtDriver'
                      '._cleanup_remote_migration',
                      lambda _driver, *args: undone.append(args))
        instance = self.spawned()
        self.fails = True
        self.assertRaises(OSError, self.move, instance)
        folder = self.folder(instance)
        self.assertEqual([('192.0.2.7', folder, f'{folder}_resize', False)],
                         undone)

    def test_a_stock_instance_takes_nothing_along(self):
        instance = self.instance(self.flavor())
        os.mkdir(self.folder(instance))
        self.move(instance)
        self.assertEqual([], self.copied)

    def test_a_stock_instance_cannot_become_one(self):
        instance = self.instance(self.flavor())
        os.mkdir(self.folder(instance))
        e = self.assertRaises(
            nova_exception.InstanceFaultRollback,
            self.driver.migrate_disk_and_power_off, self.context, instance,
            '192.0.2.7', self.flavor(flexmem__policy='required'),
            self.network)
        self.assertIn('built with a stock root disk', str(e.inner_exception))

    def test_a_stock_instance_keeps_its_flavor(self):
        """Whatever became of that flavor since."""
        instance = self.instance(self.flavor(flexmem__policy='required'))
        os.mkdir(self.folder(instance))
        self.move(instance)

    def test_the_base_is_given_back_when_the_move_is_confirmed(self):
        self.stub_out('nova.virt.libvirt.LibvirtDriver.confirm_migration',
                      lambda *_args: None)
        instance = self.spawned()
        self.driver.confirm_migration(self.context, None, instance, None)
        self.assertEqual([instance.uuid], self.store.users(driver_test.KEY))
        shutil.rmtree(self.folder(instance))
        self.driver.confirm_migration(self.context, None, instance, None)
        self.assertEqual([], self.store.users(driver_test.KEY))

    def test_it_arrives_as_what_it_is(self):
        """Evacuated over shared storage: its record counts, not its flavor."""
        instance = self.spawned()
        instance.flavor = self.flavor()
        del self.domains[:]
        self.spawn(instance)
        self.assertIn('flexmem-delta', self.domains[0])
        self.assertEqual(driver_test.KEY, self.record(instance).base_key)
