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
import subprocess

from nova.compute import provider_tree
from nova.compute import task_states
from nova import exception as nova_exception
from nova.virt.libvirt import config as vconfig
from oslo_utils import uuidutils

from nova_flexmem import exception
from nova_flexmem.virt import layered
from tests.unit.virt import driver_test


class SpawnTest(driver_test.DriverTest):

    def test_with_flexmem(self):
        instance = self.spawned()
        xml, = self.domains
        base = self.store.require(driver_test.KEY)
        for words in (base.file('root.pmem'), base.file('kernel'),
                      'flexmem-delta', f'flexmem.base={base.manifest.uuid}'):
            self.assertIn(words, xml)
        self.assertEqual(base.layout, self.record(instance).root_sha256)
        self.assertEqual([instance.uuid], self.store.users(base.key))
        self.assertEqual(driver_test.IMAGE,
                         instance.system_metadata[layered.SYSTEM_KEY])
        delta = os.path.join(self.folder(instance), 'disk')
        self.assertEqual(1 << 30, os.path.getsize(delta))
        self.assertIn('flexmem-delta', subprocess.run(
            ['/sbin/e2label', delta], check=True, text=True,
            capture_output=True).stdout)

    def test_kernel_installed_in_the_guest(self):
        instance = self.spawned()
        self.assertEqual('base', self.record(instance).kernel)
        self.assertNotIn('flexmem.kernel', self.domains[0])
        instance = self.spawned(flexmem__kernel='own')
        self.assertEqual('own', self.record(instance).kernel)
        self.assertIn(' flexmem.kernel=own ', self.domains[-1])
        # whatever the host says by then
        self.flags(guest_kernels=True, group='flexmem')
        self.assertIn(' flexmem.kernel=own ', self.xml(instance))
        instance = self.spawned(flexmem__kernel='base')
        self.assertNotIn('flexmem.kernel', self.domains[-1])
        instance = self.spawned()
        self.assertIn(' flexmem.kernel=own ', self.domains[-1])
        self.flags(guest_kernels=False, group='flexmem')
        self.assertIn(' flexmem.kernel=own ', self.xml(instance))

    def test_lean_instance(self):
        instance = self.spawned()
        self.assertEqual([], self.record(instance).without)
        self.assertNotIn('nokaslr', self.domains[-1])
        instance = self.spawned(flexmem__lean='kaslr')
        self.assertEqual(['kaslr'], self.record(instance).without)
        self.assertIn(' nokaslr', self.domains[-1])
        # it stays so when it is started again
        self.assertIn(' nokaslr', self.xml(instance))

    def test_lean_instance_that_names_no_part(self):
        self.assert_refused(
            nova_exception.ImageUnacceptable,
            "flexmem:lean: 'all' is none of tracing, kaslr, video, nesting",
            self.instance(self.flavor(flexmem__policy='required',
                                      flexmem__lean='all')))

    def test_kernel_that_is_none_of_the_values(self):
        self.assert_refused(
            nova_exception.ImageUnacceptable,
            'flexmem:kernel=newest is none of own, base',
            self.instance(self.flavor(flexmem__policy='required',
                                      flexmem__kernel='newest')))

    def test_writes_to_memory(self):
        instance = self.spawned(flexmem__writes='memory')
        self.assertEqual('memory', self.record(instance).writes)
        self.assertFalse(os.path.exists(
            os.path.join(self.folder(instance), 'disk')))
        self.assertNotIn('flexmem-delta', self.domains[0])
        # of the base, and not to be copied or counted with the instance
        self.assertIn('flexmem-no-disk', self.domains[0])
        guest = vconfig.LibvirtConfigGuest()
        guest.parse_str(self.domains[0])
        self.assertEqual(
            [], self.driver._get_instance_disk_info_from_config(guest, {}))

    def assert_refused(self, error, words, instance, image_meta=None):
        e = self.assertRaises(error, self.spawn, instance, image_meta)
        self.assertIn(words, str(e))
        self.assertEqual([], self.domains)
        self.assertEqual([], os.listdir(self.driver_folder()))
        self.assertEqual([], self.store.users(driver_test.KEY))
        self.assertNotIn(layered.SYSTEM_KEY, instance.system_metadata)

    @staticmethod
    def driver_folder():
        return driver_test.CONF.instances_path

    def test_refused_for_what_no_host_can_do(self):
        self.assert_refused(
            nova_exception.ImageUnacceptable, 'ide', self.instance(),
            self.image_meta(hw_disk_bus='ide'))

    def test_refused_as_this_host_is_unfit(self):
        self.set_fit(False)
        self.assert_refused(
            nova_exception.ComputeResourcesUnavailable, 'has no nvdimm',
            self.instance())

    def be_busy(self, *_args, **_kwargs):
        raise exception.HostBusy(reason='it builds')

    def test_refused_as_this_host_is_busy(self):
        """Nova then builds it on another host."""
        self.stub_out('nova_flexmem.virt.bases.Bases.of_image', self.be_busy)
        self.assert_refused(
            nova_exception.ComputeResourcesUnavailable, 'busy: it builds',
            self.instance())

    def test_refused_for_a_disk_that_is_too_small(self):
        self.store.remove(driver_test.KEY)
        self.publish(driver_test.KEY, image_virtual_size_bytes=2 << 30)
        e = self.assertRaises(nova_exception.FlavorDiskSmallerThanImage,
                              self.spawn, self.instance())
        self.assertIn(str(2 << 30), str(e))
        self.assertEqual([], self.domains)

    def test_refused_as_flavor_and_image_contradict_each_other(self):
        instance = self.instance()
        instance.system_metadata['image_flexmem_policy'] = 'disabled'
        self.assert_refused(nova_exception.ImageUnacceptable, 'contradict',
                            instance)

    def test_a_spawn_that_fails_leaves_no_plan(self):
        def fail(*_args, **_kwargs):
            raise nova_exception.VirtualInterfaceCreateException()

        self.driver._create_guest_with_network = fail
        self.assertRaises(nova_exception.VirtualInterfaceCreateException,
                          self.spawn, self.instance())
        self.assertEqual({}, self.driver._plans)


class StartTest(driver_test.DriverTest):
    """Hard reboot, start and host boot: the domain is made from the record."""

    def test_on_the_same_base(self):
        instance = self.spawned()
        record = self.record(instance)
        self.assertIn(self.store.require(driver_test.KEY).file('root.pmem'),
                      self.xml(instance))
        self.assertEqual(record, self.record(instance))
        self.assertEqual([], self.events)

    def test_on_another_layout_if_no_host_has_its_own(self):
        instance = self.spawned()
        self.store.release(driver_test.KEY, instance.uuid)
        self.store.remove(driver_test.KEY)
        self.publish(driver_test.OTHER_KEY, content=b'another layout')
        base = self.store.require(driver_test.OTHER_KEY)
        self.assertIn(base.file('root.pmem'), self.xml(instance))
        self.assertEqual(['flexmem_other_layout'], self.events)
        record = self.record(instance)
        self.assertEqual((base.key, base.layout),
                         (record.base_key, record.root_sha256))
        self.assertEqual([instance.uuid], self.store.users(base.key))
        self.xml(instance)
        self.assertEqual(1, len(self.events))  # it is told once

    def test_not_on_another_image(self):
        instance = self.spawned()
        self.store.release(driver_test.KEY, instance.uuid)
        self.store.remove(driver_test.KEY)
        self.publish(driver_test.OTHER_KEY, image_sha256='6' * 64)
        e = self.assertRaises(nova_exception.Invalid, self.xml, instance)
        self.assertIn('not the image that the delta lies on', str(e))

    def test_without_its_record(self):
        """The delta is not taken for a stock root disk."""
        instance = self.spawned()
        os.unlink(os.path.join(self.folder(instance), 'flexmem.json'))
        e = self.assertRaises(nova_exception.Invalid, self.xml, instance)
        self.assertIn('flexmem.json: not a usable record', str(e))

    def test_with_a_record_of_a_newer_version(self):
        instance = self.spawned()
        self.write_record(instance, format=99)
        e = self.assertRaises(nova_exception.Invalid, self.xml, instance)
        self.assertIn('format 99', str(e))

    def test_its_firmware_is_compared_with_none(self):
        """It has none; Nova would take that for a change of Secure Boot."""
        compared = []
        make = self.driver._get_guest_config

        def note(*args):
            compared.append(args[-1])
            return make(*args[:-1])

        instance, stock = self.spawned(), self.instance(self.flavor())
        self.driver._get_guest_config = note
        for each in (instance, stock):
            self.xml(each, old_guest='the domain before')
        self.assertEqual([None, 'the domain before'], compared)

    def test_rescue_attaches_the_base(self):
        instance = self.spawned()
        base = self.store.require(driver_test.KEY)
        self.assertIn(base.file('root.pmem'), self.xml(instance, rescue={
            'image_id': driver_test.IMAGE, 'kernel_id': None,
            'ramdisk_id': None}))


class RefusedTest(driver_test.DriverTest):
    """What an instance that runs is refused, and stays as it is."""

    def assert_stays(self, words, function, *args, **kwargs):
        e = self.assertRaises(nova_exception.InstanceFaultRollback, function,
                              *args, **kwargs)
        self.assertIn(words, str(e.inner_exception))

    def test_suspend(self):
        instance = self.spawned()
        self.assert_stays('hard reboot it', self.driver.suspend,
                          self.context, instance)

    def test_shelving_of_memory(self):
        instance = self.spawned(flexmem__writes='memory')
        instance.task_state = task_states.SHELVING
        self.assert_stays('cannot be shelved', self.driver.power_off, instance)

    def test_snapshot_of_memory(self):
        instance = self.spawned(flexmem__writes='memory')
        e = self.assertRaises(nova_exception.Invalid, self.driver.snapshot,
                              self.context, instance, 'snapshot', None)
        self.assertIn('memory alone', str(e))
        self.assertEqual(['flexmem_snapshot'], self.events)

    def test_snapshot_while_it_runs_where_that_would_suspend_it(self):
        self.flags(disable_libvirt_livesnapshot=True, group='workarounds')
        instance = self.spawned()
        e = self.assertRaises(nova_exception.Invalid, self.driver.snapshot,
                              self.context, instance, 'snapshot', None)
        self.assertIn('hard reboot it', str(e))

    def test_resize_to_a_flavor_that_disables_it(self):
        instance = self.spawned()
        self.assert_stays(
            'disables it', self.driver.migrate_disk_and_power_off,
            self.context, instance, '127.0.0.1',
            self.flavor(flexmem__policy='disabled'), self.network)
        self.assertTrue(os.path.isdir(self.folder(instance)))

    def test_resize_to_a_flavor_that_writes_elsewhere(self):
        instance = self.spawned()
        self.assert_stays(
            'asks for flexmem:writes=memory',
            self.driver.migrate_disk_and_power_off, self.context, instance,
            '127.0.0.1', self.flavor(flexmem__writes='memory'), self.network)

    def test_an_interface_that_would_map_the_base_for_writing(self):
        instance = self.spawned()
        vif = self.network[0]
        vif['vnic_type'] = 'direct'
        e = self.assertRaises(
            nova_exception.Invalid, self.driver.attach_interface,
            self.context, instance, self.image_meta(), vif)
        self.assertIn('cannot use FlexMem', str(e))

    def test_rebuild_that_is_not_refused_is_novas_own(self):
        instance = self.spawned()
        self.assertRaises(
            NotImplementedError, self.driver.rebuild, self.context, instance,
            self.image_meta(), [], None, {}, [], None, None,
            network_info=self.network,
            block_device_info=driver_test.NO_DEVICES)


class SnapshotTest(driver_test.DriverTest):

    def test_metadata_names_the_layout(self):
        instance = self.spawned()
        properties = self.driver._create_snapshot_metadata(
            self.image_meta(), instance, 'raw', 'snapshot')['properties']
        base = self.store.require(driver_test.KEY)
        self.assertEqual(
            (driver_test.IMAGE, '5' * 64, base.key, base.layout),
            tuple(properties[name] for name in (
                layered.BASE_IMAGE, layered.BASE_SHA256, layered.BASE_KEY,
                layered.LAYOUT)))

    def test_of_a_stock_instance(self):
        instance = self.instance(self.flavor())
        self.assertNotIn(layered.BASE_IMAGE,
                         self.driver._create_snapshot_metadata(
                             self.image_meta(), instance, 'raw',
                             'snapshot')['properties'])


class HostTest(driver_test.DriverTest):

    def test_trait(self):
        tree = provider_tree.ProviderTree()
        tree.new_root('node', uuidutils.generate_uuid())
        self.stub_out('nova.virt.libvirt.LibvirtDriver.update_provider_tree',
                      lambda *_args: None)
        for fit, traits in ((True, {layered.TRAIT}), (False, set())):
            self.set_fit(fit)
            self.driver.update_provider_tree(tree, 'node')
            self.assertEqual(traits, tree.data('node').traits)

    def test_disk_that_is_reserved(self):
        self.stub_out('nova.virt.libvirt.LibvirtDriver'
                      '._get_disk_size_reserved_for_image_cache', lambda _: 7)
        self.assertEqual(
            8, self.driver._get_disk_size_reserved_for_image_cache())
        # DISK_GB is that of the pool then
        self.flags(images_type='rbd', group='libvirt')
        self.assertEqual(
            7, self.driver._get_disk_size_reserved_for_image_cache())

    def test_deletion_gives_the_base_back(self):
        instance = self.spawned()
        self.assertTrue(self.driver.delete_instance_files(instance))
        self.assertEqual([], self.store.users(driver_test.KEY))

    def test_deletion_with_a_store_that_fails(self):
        instance = self.spawned()

        def fail(*_args):
            raise OSError(5, 'Input/output error')

        self.stub_out('nova_flexmem.store.uses.Uses.discard', fail)
        self.assertTrue(self.driver.delete_instance_files(instance))

    def test_images_that_are_cached_ahead(self):
        copied = []
        self.stub_out('nova.virt.libvirt.LibvirtDriver.cache_image',
                      lambda _driver, _context, image_id:
                      copied.append(image_id) or True)
        # this host has the base already, and needs no copy of the image
        self.assertFalse(self.driver.cache_image(self.context,
                                                 driver_test.IMAGE))
        self.assertEqual([], copied)
        self.set_fit(False)
        self.assertTrue(self.driver.cache_image(self.context,
                                                driver_test.IMAGE))
        self.assertEqual([driver_test.IMAGE], copied)

    def test_instances_that_are_gone_give_their_bases_back(self):
        self.stub_out('nova.virt.libvirt.LibvirtDriver.manage_image_cache',
                      lambda *_args: None)
        gone = '5f0b9d6e-8f0e-4b6c-a1f4-3b8a6d3c2e10'
        instance = self.spawned()
        self.store.use(driver_test.KEY, gone)
        self.driver.manage_image_cache(self.context, [])
        self.assertEqual([instance.uuid], self.store.users(driver_test.KEY))

    def test_of_a_nova_compute_that_starts_and_ends(self):
        self.stub_out('nova.virt.libvirt.LibvirtDriver.init_host',
                      lambda *_args: None)
        self.stub_out('nova.virt.libvirt.LibvirtDriver.cleanup_host',
                      lambda *_args: None)
        self.stub_out('nova_flexmem.virt.readiness.Readiness.start',
                      lambda _: None)
        leftover = os.path.join(self.store.folder('downloads'), 'leftover')
        open(leftover, 'w').close()
        self.driver.virtapi._compute = None
        self.driver.init_host('host')
        self.driver.cleanup_host('host')
        self.assertFalse(os.path.exists(leftover))


class PlanTest(driver_test.DriverTest):
    """What is decided from flavor, image and the host's options."""

    def assert_refused(self, words, instance):
        e = self.assertRaises(nova_exception.ImageUnacceptable, self.spawn,
                              instance)
        self.assertIn(words, str(e))

    def is_flexmem(self, instance):
        del self.domains[:]
        self.spawn(instance)
        return 'flexmem-delta' in self.domains[0]

    def stock(self, *_args, **_kwargs):
        return True

    def test_default_policy(self):
        self.stub_out('nova.virt.libvirt.LibvirtDriver'
                      '._create_and_inject_local_root', self.stock)
        for default, flexmem in (('disabled', False), ('preferred', True),
                                 ('required', True)):
            self.flags(default_policy=default, group='flexmem')
            instance = self.instance(self.flavor())
            self.assertEqual(flexmem, self.is_flexmem(instance), default)
            self.assertEqual(flexmem, layered.SYSTEM_KEY
                             in instance.system_metadata)
            shutil.rmtree(self.folder(instance), ignore_errors=True)

    def test_preferred_on_a_host_that_is_unfit(self):
        self.stub_out('nova.virt.libvirt.LibvirtDriver'
                      '._create_and_inject_local_root', self.stock)
        self.set_fit(False)
        self.assertFalse(self.is_flexmem(self.instance(
            self.flavor(flexmem__policy='preferred'))))

    def test_a_stock_disk_that_is_there_stays_one(self):
        """Evacuated over shared storage, whatever the flavor says."""
        self.stub_out('nova.virt.libvirt.LibvirtDriver'
                      '._create_and_inject_local_root', self.stock)
        instance = self.instance()
        os.mkdir(self.folder(instance))
        open(os.path.join(self.folder(instance), 'disk'), 'w').close()
        self.assertFalse(self.is_flexmem(instance))

    def test_the_device_that_the_kernel_has(self):
        self.store.remove(driver_test.KEY)
        self.publish(driver_test.KEY, devices=['virtio-pmem'])
        instance = self.spawned()
        self.assertEqual('virtio-pmem', self.record(instance).device)
        self.assertIn('virtio-pmem-pci', self.domains[0])

    def test_a_kernel_command_line_that_is_too_long(self):
        self.flags(extra_kernel_args='x' * 2048, group='flexmem')
        self.assert_refused('kernel command line', self.instance())

    def test_direct_paths_that_lead_elsewhere(self):
        self.flags(direct_paths=['/var/../etc'], group='flexmem')
        self.assert_refused('/var/../etc', self.instance())

    def test_direct_paths_that_the_image_names(self):
        self.flags(direct_paths=['/of/the/host'], group='flexmem')
        for policy, expected in (
                ('narrow', ['/of/the/host', '/a', '/b']),
                ('ignore', ['/of/the/host'])):
            self.flags(image_policy=policy, group='flexmem')
            instance = self.instance()
            instance.system_metadata['image_flexmem_direct_paths'] = (
                '/a,,/of/the/host,/b')
            self.spawn(instance)
            self.assertEqual(expected, self.record(instance).direct_paths)
            self.assertIn(f'flexmem.direct={",".join(expected)} ',
                          self.domains[-1])

    def test_direct_paths_of_an_image_that_lead_elsewhere(self):
        for paths in ('/a/../etc', 'a', '/a b', '/a"'):
            instance = self.instance()
            instance.system_metadata['image_flexmem_direct_paths'] = paths
            self.assert_refused('cannot lie directly', instance)

    def test_a_disk_of_the_images_size_where_the_flavor_has_none(self):
        flavor = self.flavor(flexmem__policy='required')
        flavor.root_gb = 0
        instance = self.spawn(self.instance(flavor))
        self.assertEqual(64 << 20, os.path.getsize(
            os.path.join(self.folder(instance), 'disk')))
