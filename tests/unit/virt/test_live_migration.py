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
from unittest import mock

import libvirt

from nova import exception as nova_exception
from nova import objects

from nova_flexmem import exception
from nova_flexmem.guest import ignoreshared
from nova_flexmem.guest import moving
from nova_flexmem.virt import layered
from nova_flexmem.virt import migratedata
from tests.unit.virt import driver_test

_DRIVER = 'nova.virt.libvirt.LibvirtDriver'


class FakeGuest:
    """A guest that runs, and notes how it is migrated."""

    def __init__(self, xml):
        self.xml = xml
        self.migrated = []
        self.active = True
        self.failure = None

    def get_xml_desc(self, *_args, **_kwargs):
        return self.xml

    def is_active(self):
        return self.active

    def migrate(self, destination, **kwargs):
        if self.failure:
            raise self.failure
        self.migrated.append((destination, kwargs))


class MovableTest(driver_test.DriverTest):
    """Has a host whose QEMU is 7.2 and not confined."""

    def setUp(self):
        super().setUp()
        self.stub_out('nova_flexmem.virt.capability.Capability._labels',
                      lambda _: {'dac': '+64055:+64055'})
        self.stub_out('nova.privsep.path.chown', lambda *_: None)
        self.stub_out('nova_flexmem.virt.capability.why_not',
                      lambda _guest: self.why_not)
        self.why_not = None
        self.driver._live_migration_flags = 0
        self.driver._host.get_guest = lambda _instance: self.guest

    def running(self, **specs):
        instance = self.spawned(**specs)
        self.guest = FakeGuest(self.domains[-1])
        return instance


class RecordTest(MovableTest):

    def test_movable(self):
        record = self.record(self.running())
        self.assertTrue(record.movable)
        manifest = self.store.require(driver_test.KEY).manifest
        self.assertEqual((manifest.files['kernel'].sha256,
                          manifest.files['initramfs'].sha256),
                         (record.kernel_sha256, record.initramfs_sha256))
        self.assertTrue(ignoreshared.is_given(self.domains[0]))

    def test_a_host_that_cannot_offer_it_still_runs_instances(self):
        self.stub_out('nova_flexmem.virt.capability.Capability._labels',
                      lambda _: {'dac': '+0:+0', 'apparmor': None})
        self.assertFalse(self.record(self.running()).movable)
        self.assertFalse(ignoreshared.is_given(self.domains[0]))

    def test_the_next_start_decides_anew(self):
        instance = self.running()
        self.write_record(instance, movable=False)
        self.xml(instance)
        self.assertTrue(self.record(instance).movable)


class SourceTest(MovableTest):

    def data(self, offered=True, **fields):
        data = objects.LibvirtLiveMigrateData(
            **{'image_type': 'flat'} | fields)
        if offered:
            migratedata.offer(data)
        return data

    def check(self, instance, data):
        self.stub_out(f'{_DRIVER}.check_can_live_migrate_source',
                      lambda _driver, _context, _instance, data, _info: data)
        return self.driver.check_can_live_migrate_source(
            self.context, instance, data)

    def assert_refused(self, words, instance, data):
        e = self.assertRaises(nova_exception.MigrationPreCheckError,
                              self.check, instance, data)
        self.assertIn(words, str(e))
        self.assertNotIn('source_mdev_types', data)

    def test_what_is_told(self):
        instance = self.running()
        data = self.check(instance, self.data())
        facts = migratedata.take_facts(data)
        self.assertEqual(self.record(instance), facts.record)
        base = self.store.require(driver_test.KEY)
        self.assertEqual(base.file('root.pmem'), facts.place.root_pmem)
        self.assertEqual(driver_test.CONF.host, facts.host)

    def test_a_stock_instance_tells_nothing(self):
        instance = self.instance(self.flavor())
        data = self.check(instance, self.data(offered=False))
        self.assertNotIn('source_mdev_types', data)
        self.assertNotIn('target_mdevs', data)

    def test_a_stock_instance_that_is_marked(self):
        instance = self.instance(self.flavor())
        data = self.check(instance, self.data())
        self.assertTrue(migratedata.is_withdrawn(data))

    def test_a_destination_without_flexmem(self):
        self.assert_refused('choose another host', self.running(),
                            self.data(offered=False))
        data = self.data(offered=False, target_mdevs={'flexmem': '{}'})
        self.assert_refused('another version', self.running(), data)

    def test_guest_of_before_the_upgrade(self):
        instance = self.running()
        self.write_record(instance, movable=False)
        self.assert_refused('hard reboot it', instance, self.data())

    def test_what_the_running_qemu_says_counts(self):
        instance = self.running()
        self.why_not = 'its QEMU runs without the capability'
        self.assert_refused('without the capability', instance, self.data())

    def test_post_copy(self):
        self.driver._live_migration_flags = libvirt.VIR_MIGRATE_POSTCOPY
        self.assert_refused('live_migration_permit_post_copy = False',
                            self.running(), self.data())

    def test_ram_in_files_at_the_destination(self):
        self.assert_refused('file_backed_memory', self.running(), self.data(
            dst_wants_file_backed_memory=True))

    def test_root_disks_of_another_kind_at_the_destination(self):
        self.assert_refused('images_type=rbd', self.running(),
                            self.data(image_type='rbd'))
        self.check(self.running(), self.data(image_type='qcow2'))

    def test_libvirt_is_away(self):
        instance = self.running()

        def fail(_guest):
            raise libvirt.libvirtError('no connection')

        self.stub_out('nova_flexmem.virt.capability.why_not', fail)
        self.assert_refused('libvirt does not answer', instance, self.data())

    def migrate(self, instance, data):
        def operate(_driver, _context, _instance, dest, _block, _data, guest,
                    _devices):
            guest.migrate(dest, destination_xml=guest.get_xml_desc(), flags=1)

        self.stub_out(f'{_DRIVER}._live_migration_operation', operate)
        self.driver._live_migration_operation(
            self.context, instance, 'there', True, data, self.guest, [])

    def test_the_domain_is_rewritten(self):
        instance = self.running()
        data = self.data()
        place = moving.Place('/there/root.pmem', '/there/kernel',
                             '/there/initramfs', ['-global', 'x'])
        migratedata.tell_place(data, place)
        self.migrate(instance, data)
        [(destination, given)] = self.guest.migrated
        self.assertEqual(('there', 1), (destination, given['flags']))
        self.assertEqual('/there/root.pmem', moving.place_of(
            given['destination_xml']).root_pmem)

    def test_nothing_moves_without_a_place(self):
        self.migrate(self.running(), self.data())
        self.assertEqual([], self.guest.migrated)
        self.assertIn('runs another version', self.stdlog.logger.output)

    def test_nothing_moves_if_qemu_says_otherwise_by_then(self):
        instance = self.running()
        data = self.data()
        migratedata.tell_place(data, moving.Place('/r', '/k', '/i', ['-x']))
        self.why_not = 'its QEMU runs without the capability'
        self.migrate(instance, data)
        self.assertEqual([], self.guest.migrated)
        self.assertIn(self.why_not, self.stdlog.logger.output)

    def test_a_guest_that_runs_on_is_not_broken(self):
        """Nova calls an instance broken whose move it is told to have failed.

        That is after it has rolled the move back, as the guest tells it to.
        """
        instance = self.running()
        libvirt.virResetLastError()  # its message would be the exception's
        self.guest.failure = libvirt.libvirtError('QEMU closed the monitor')
        data = self.data()
        migratedata.tell_place(data, moving.Place('/r', '/k', '/i', ['-x']))
        self.migrate(instance, data)
        self.assertIn('QEMU closed the monitor', self.stdlog.logger.output)
        # one that is gone, or that libvirt says nothing of
        self.guest.active = False
        self.assertRaises(libvirt.libvirtError, self.migrate, instance, data)
        self.guest.is_active = self._no_answer
        self.assertRaises(libvirt.libvirtError, self.migrate, instance, data)

    @staticmethod
    def _no_answer():
        raise libvirt.libvirtError('libvirt is away')

    def test_the_failure_of_a_stock_guest_is_novas(self):
        instance = self.instance(self.flavor())
        self.guest = FakeGuest('<domain/>')
        self.guest.failure = libvirt.libvirtError('QEMU closed the monitor')
        self.assertRaises(libvirt.libvirtError, self.migrate, instance,
                          objects.LibvirtLiveMigrateData())

    def test_a_stock_guest_is_moved_as_it_is(self):
        instance = self.instance(self.flavor())
        self.guest = FakeGuest('<domain/>')
        self.migrate(instance, objects.LibvirtLiveMigrateData())
        [(_destination, given)] = self.guest.migrated
        self.assertEqual('<domain/>', given['destination_xml'])

    def test_the_base_is_given_back_afterwards(self):
        self.stub_out(f'{_DRIVER}.post_live_migration_at_source',
                      lambda *_: None)
        instance = self.running()
        self.driver.post_live_migration_at_source(self.context, instance,
                                                  self.network)
        self.assertEqual([], self.store.users(driver_test.KEY))


class DestinationTest(MovableTest):
    """The source's files are taken away, so that this host is another one."""

    def setUp(self):
        super().setUp()
        self.stub_out(f'{_DRIVER}.pre_live_migration', self.make_folder)
        self.moving = self.running()
        self.facts = migratedata.Facts(
            'source', self.record(self.moving),
            moving.place_of(self.guest.xml))
        self.driver.delete_instance_files(self.moving)

    def make_folder(self, _driver, _context, instance, _info, _network,
                    _disk, data):
        if not data.is_shared_instance_path:
            os.mkdir(self.folder(instance))
        return data

    def data(self, shared=False):
        data = objects.LibvirtLiveMigrateData(
            is_shared_instance_path=shared,
            instance_relative_path=self.moving.uuid)
        migratedata.tell_facts(data, self.facts)
        return data

    def prepare(self, data):
        self.stub_out(f'{_DRIVER}.check_source_migrate_data_at_dest',
                      lambda *args: args[3])
        self.driver.check_source_migrate_data_at_dest(
            self.context, self.moving, data, None, None, None)
        return self.driver.pre_live_migration(
            self.context, self.moving, driver_test.NO_DEVICES, self.network,
            None, data)

    def assert_refused(self, words):
        e = self.assertRaises(nova_exception.MigrationPreCheckError,
                              self.prepare, self.data())
        self.assertIn(words, str(e))
        self.assertFalse(os.path.exists(self.folder(self.moving)))

    def test_prepared(self):
        data = self.prepare(self.data())
        self.assertEqual({}, data.source_mdev_types)
        base = self.store.require(driver_test.KEY)
        place = migratedata.place_of(data)
        self.assertEqual(
            [base.file(name) for name in ('root.pmem', 'kernel',
                                          'initramfs')],
            [place.root_pmem, place.kernel, place.initramfs])
        self.assertIn(self.folder(self.moving), place.switch[1])
        self.assertEqual([self.moving.uuid], self.store.users(base.key))
        self.assertEqual(self.facts.record, self.record(self.moving))

    def test_a_folder_that_both_hosts_share(self):
        os.mkdir(self.folder(self.moving))
        self.prepare(self.data(shared=True))
        self.assertEqual(
            ['flexmem-qmp.in', 'flexmem-qmp.out'],
            sorted(os.listdir(self.folder(self.moving))))

    def test_another_content_of_the_base(self):
        self.store.remove(driver_test.KEY)
        self.publish(driver_test.OTHER_KEY, content=b'another layout')
        self.assert_refused('neither here nor on a host')

    def test_another_kernel_that_cannot_be_brought(self):
        self.stub_out('nova_flexmem.virt.running.libvirt_utils.copy_image',
                      self.fail_to_copy)
        self.facts = migratedata.Facts('source', driver_test.record_module
                                       .Record(**vars(self.facts.record) | {
                                           'kernel_sha256': '9' * 64}),
                                       self.facts.place)
        self.assert_refused('No route to host')

    def fail_to_copy(self, *_args, **_kwargs):
        raise OSError(113, 'No route to host')

    def test_boot_files_of_another_version_are_brought(self):
        source = os.path.join(driver_test.CONF.instances_path, 'source')
        os.mkdir(source)
        for name in ('kernel', 'initramfs'):
            with open(os.path.join(source, name), 'w') as f:
                f.write(f'another {name}')
        digests = driver_test.digests_of(source)
        self.facts = migratedata.Facts(
            'source', driver_test.record_module.Record(
                **vars(self.facts.record) | digests),
            moving.Place(self.facts.place.root_pmem,
                         os.path.join(source, 'kernel'),
                         os.path.join(source, 'initramfs')))
        self.stub_out(
            'nova_flexmem.virt.running.libvirt_utils.copy_image',
            lambda path, target, host, receive: shutil.copy(path, target))
        place = migratedata.place_of(self.prepare(self.data()))
        self.assertTrue(place.kernel.startswith(
            os.path.join(self.store.folder('boot'), driver_test.KEY)))
        with open(place.initramfs) as f:
            self.assertEqual('another initramfs', f.read())
        # the next one of the same finds them here
        self.stub_out('nova_flexmem.virt.running.libvirt_utils.copy_image',
                      self.fail_to_copy)
        shutil.rmtree(self.folder(self.moving))
        self.assertEqual(place, migratedata.place_of(
            self.prepare(self.data())))

    def test_unfit(self):
        self.set_fit(False)
        stock = mock.Mock()
        self.stub_out(f'{_DRIVER}.check_can_live_migrate_destination', stock)
        e = self.assertRaises(
            nova_exception.MigrationPreCheckError,
            self.driver.check_can_live_migrate_destination, self.context,
            self.moving, None, None)
        self.assertIn('has no nvdimm', str(e))
        self.assertEqual([], stock.mock_calls)

    def test_offers(self):
        self.stub_out(f'{_DRIVER}.check_can_live_migrate_destination',
                      lambda *_: objects.LibvirtLiveMigrateData())
        self.assertTrue(migratedata.is_offered(
            self.driver.check_can_live_migrate_destination(
                self.context, self.moving, None, None)))
        self.assertNotIn(
            'target_mdevs', self.driver.check_can_live_migrate_destination(
                self.context, self.instance(self.flavor()), None, None))

    def test_rollback(self):
        self.stub_out(f'{_DRIVER}.rollback_live_migration_at_destination',
                      lambda *_: None)
        self.prepare(self.data())
        self.driver.rollback_live_migration_at_destination(
            self.context, self.moving, self.network, driver_test.NO_DEVICES)
        self.assertEqual([], self.store.users(driver_test.KEY))

    def test_arrived(self):
        self.stub_out(f'{_DRIVER}.post_live_migration_at_destination',
                      lambda *_: None)
        self.prepare(self.data())
        self.store.release(driver_test.KEY, self.moving.uuid)
        self.driver.post_live_migration_at_destination(
            self.context, self.moving, self.network)
        self.assertEqual([self.moving.uuid],
                         self.store.users(driver_test.KEY))

    def test_a_stock_instance(self):
        data = objects.LibvirtLiveMigrateData(is_shared_instance_path=False)
        self.assert_taken_as_stock(self.instance(self.flavor()), data)

    def test_a_stock_instance_that_is_marked(self):
        data = objects.LibvirtLiveMigrateData(is_shared_instance_path=False)
        migratedata.withdraw(data)
        self.assert_taken_as_stock(self.moving, data)

    def assert_taken_as_stock(self, instance, data):
        self.driver.pre_live_migration(
            self.context, instance, driver_test.NO_DEVICES, self.network,
            None, data)
        self.assertEqual([], os.listdir(self.folder(instance)))

    def test_one_that_the_source_says_nothing_of(self):
        """As from a host whose driver was removed under its instances."""
        data = objects.LibvirtLiveMigrateData(is_shared_instance_path=False)
        self.assertRaises(
            nova_exception.MigrationPreCheckError,
            self.driver.pre_live_migration, self.context, self.moving,
            driver_test.NO_DEVICES, self.network, None, data)
        self.assertFalse(os.path.exists(self.folder(self.moving)))


class SuspensionTest(MovableTest):

    def setUp(self):
        super().setUp()
        self.done = []
        for name in ('suspend', 'resume'):
            self.stub_out(f'{_DRIVER}.{name}',
                          lambda *_, name=name: self.done.append(name))

    def resume(self, instance):
        self.driver.resume(self.context, instance, self.network)

    def test_both(self):
        instance = self.running()
        self.driver.suspend(self.context, instance)
        self.assertEqual([instance.uuid], self.store.users(driver_test.KEY))
        os.unlink(os.path.join(self.folder(instance), 'flexmem-qmp.in'))
        self.resume(instance)
        self.assertEqual(['suspend', 'resume'], self.done)
        self.assertIn('flexmem-qmp.in', os.listdir(self.folder(instance)))

    def test_what_the_running_qemu_says_counts(self):
        instance = self.running()
        self.why_not = 'its QEMU runs without the capability'
        self.assertRaises(nova_exception.InstanceFaultRollback,
                          self.driver.suspend, self.context, instance)
        self.assertEqual([], self.done)

    def assert_no_resume(self, instance):
        e = self.assertRaises(nova_exception.InstanceFaultRollback,
                              self.resume, instance)
        self.assertIn('hard reboot it', str(e.inner_exception))
        self.assertEqual([], self.done)

    def test_the_base_is_gone(self):
        instance = self.running()
        self.store.release(driver_test.KEY, instance.uuid)
        self.store.remove(driver_test.KEY)
        self.assert_no_resume(instance)

    def test_the_base_is_another_one_under_the_same_path(self):
        instance = self.running()
        self.store.release(driver_test.KEY, instance.uuid)
        self.store.remove(driver_test.KEY)
        self.publish(driver_test.KEY, content=b'another layout')
        self.assert_no_resume(instance)

    def test_the_kernel_is_another_one(self):
        instance = self.running()
        self.write_record(instance, kernel_sha256='9' * 64)
        self.assert_no_resume(instance)

    def test_snapshot_of_a_running_instance_that_nova_suspends(self):
        self.flags(disable_libvirt_livesnapshot=True, group='workarounds')
        self.stub_out(f'{_DRIVER}.snapshot',
                      lambda *_: self.done.append('snapshot'))
        self.driver.snapshot(self.context, self.running(), 'id', None)
        self.assertEqual(['snapshot'], self.done)


class MigrateDataTest(driver_test.DriverTest):

    def test_a_destination_without_flexmem_refuses_by_itself(self):
        """Nova's own check, of a host whose driver is the stock one."""
        data = objects.LibvirtLiveMigrateData()
        data.source_mdev_types = {'flexmem': '{}'}
        e = self.assertRaises(
            nova_exception.MigrationPreCheckError,
            flexmem_stock(self.driver), self.context, self.instance(), data,
            None, None, {})
        self.assertIn('not supported', str(e))

    def test_through_the_conductor(self):
        record = driver_test.record_module.Record(
            'k', 'r', 'i', 's', 'nvdimm', 'disk', ['/var/lib/docker'])
        facts = migratedata.Facts('source', record,
                                  moving.Place('/r', '/k', '/i'))
        data = objects.LibvirtLiveMigrateData()
        migratedata.tell_facts(data, facts)
        data = objects.LibvirtLiveMigrateData.obj_from_primitive(
            data.obj_to_primitive())
        self.assertEqual(facts, migratedata.take_facts(data))

    def test_system_key_is_what_tells_the_destination(self):
        instance = self.spawned()
        self.assertIn(layered.SYSTEM_KEY, instance.system_metadata)
        self.assertTrue(self.driver._destination.concerns(instance))
        self.assertRaises(exception.FlexMemException,
                          self.driver._capability.check)


def flexmem_stock(driver):
    """Return the method that stock hosts have instead of a driver's."""
    return super(type(driver), driver).check_source_migrate_data_at_dest
