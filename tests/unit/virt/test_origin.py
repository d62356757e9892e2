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

import contextlib
import inspect
from unittest import mock

from nova.compute import manager as compute_manager
from nova.compute import task_states
from nova.compute import vm_states
from nova import exception as nova_exception
from nova import objects
from nova import safe_utils

from nova_flexmem.virt import layered
from nova_flexmem.virt import origin
from tests.unit.virt import driver_test

OLD = 'a2459075-d96c-40d5-893e-577ff92e721c'

_BEFORE = {'image_base_image_ref': OLD, 'image_os_type': 'linux',
           'image_kernel_id': 'nokernel', 'image_hw_disk_bus': 'virtio',
           'owner_user_name': 'somebody'}
_AFTER = {'image_base_image_ref': driver_test.IMAGE,
          'image_hw_disk_bus': 'ide', 'image_hw_machine_type': 'q35',
          'owner_user_name': 'somebody'}


class Manager(compute_manager.ComputeManager):
    """Nova's own rebuild, down to where it asks the driver."""

    def __init__(self, driver):
        self.driver = driver
        self.host = driver_test.CONF.host
        self.image_api = driver._image_api
        self.rt = mock.Mock()
        self.reportclient = mock.Mock()
        self.notified = []

    def _do_rebuild_instance(
            self, context, instance, orig_image_ref, image_meta,
            injected_files, new_pass, orig_sys_metadata, bdms, evacuate,
            on_shared_storage, preserve_ephemeral, migration, request_spec,
            allocations, request_group_resource_providers_mapping,
            accel_uuids, reimage_boot_volume, target_state):
        self.driver.rebuild(
            context, instance, image_meta, [], new_pass, {}, bdms, None, None,
            network_info=instance.get_network_info(), evacuate=evacuate,
            block_device_info=driver_test.NO_DEVICES)

    def _notify_instance_rebuild_error(self, context, instance, error, bdms):
        self.notified.append(error)


class RebuildTest(driver_test.DriverTest):

    def setUp(self):
        super().setUp()
        self.request = mock.Mock()
        self.request.image.id = driver_test.IMAGE
        self.stub_out('nova.objects.RequestSpec.get_by_instance_uuid',
                      lambda *_args: self.request)
        self.saved = []
        self.stub_out('nova.objects.Instance.save', self.save)
        self.manager = Manager(self.driver)
        self.failed = []

    @contextlib.contextmanager
    def event(self, _context, name, _host, _uuid):
        try:
            yield
        except Exception as e:
            self.failed.append((name, str(e)))
            raise

    def save(self, instance, **_kwargs):
        self.saved.append((instance.task_state, instance.image_ref))

    def running(self, **fields):
        """Return an instance that runs, as Nova's API left it."""
        instance = self.spawned()
        self.set_fit(False)
        instance.update({'vm_state': vm_states.ACTIVE, 'node': 'node',
                         'task_state': task_states.REBUILDING,
                         'kernel_id': 'a-kernel', 'ramdisk_id': 'a-ramdisk',
                         'architecture': 's390x'} | fields)
        instance.system_metadata.update(_AFTER)
        del self.saved[:]
        return instance

    def rebuild(self, instance, before=_BEFORE, evacuate=False):
        rebuild = safe_utils.get_wrapped_function(
            compute_manager.ComputeManager.rebuild_instance)
        rebuild(self.manager, self.context, instance, OLD, driver_test.IMAGE,
                [], None, before, objects.BlockDeviceMappingList(objects=[]),
                evacuate, None, False, None, None, {}, None, [],
                reimage_boot_volume=False, target_state=None)

    def test_a_refusal(self):
        instance = self.running()
        record = self.record(instance)
        self.rebuild(instance)
        self.manager.rt.delete_allocation_for_evacuated_instance\
            .assert_not_called()
        self.assertEqual(
            (vm_states.ACTIVE, None, OLD, '', '', 'linux', None),
            (instance.vm_state, instance.task_state, instance.image_ref,
             instance.kernel_id, instance.ramdisk_id, instance.os_type,
             instance.architecture))
        self.assertEqual(_BEFORE | {layered.SYSTEM_KEY: driver_test.IMAGE},
                         instance.system_metadata)
        self.assertEqual((None, OLD), self.saved[-1])
        self.assertEqual(OLD, self.request.image.id)
        self.request.save.assert_called_once_with()
        self.assertEqual(record, self.record(instance))
        [(event, reason)] = self.failed
        self.assertEqual('flexmem_rebuild', event)
        self.assertIn('a kernel of its own', reason)
        self.assertEqual(1, len(self.manager.notified))

    def test_a_refusal_of_one_that_is_stopped(self):
        instance = self.running(vm_state=vm_states.STOPPED, kernel_id='')
        self.rebuild(instance)
        self.assertEqual((vm_states.STOPPED, None),
                         (instance.vm_state, instance.task_state))
        self.assertIn('has no nvdimm', self.failed[0][1])

    def test_a_refusal_of_the_image_that_it_has(self):
        instance = self.running()
        self.request.image.id = OLD
        self.rebuild(instance)
        self.request.save.assert_not_called()

    def test_a_request_that_cannot_be_reached(self):
        def fail(*_args):
            raise nova_exception.RequestSpecNotFound(instance_uuid='one')

        self.stub_out('nova.objects.RequestSpec.get_by_instance_uuid', fail)
        instance = self.running()
        self.rebuild(instance)
        self.assertEqual((None, OLD), self.saved[-1])

    def test_one_that_boots_from_a_volume(self):
        instance = self.running(image_ref='')
        self.rebuild(instance)
        self.assertEqual('', instance.image_ref)
        self.assertEqual('virtio',
                         instance.system_metadata['image_hw_disk_bus'])
        self.request.save.assert_not_called()

    def test_a_nova_that_does_not_say_what_was_before(self):
        instance = self.running()
        self.rebuild(instance, before=None)
        self.assertEqual((None, driver_test.IMAGE), self.saved[-1])
        self.manager.rt.delete_allocation_for_evacuated_instance\
            .assert_not_called()

    def test_what_is_not_refused_is_novas_own(self):
        instance = self.running(kernel_id='')
        self.set_fit(True)
        for evacuate in (False, True):
            self.assertRaises(NotImplementedError, self.manager
                              ._do_rebuild_instance, self.context, instance,
                              OLD, self.image_meta(), [], None, _BEFORE, [],
                              evacuate, *[None] * 9)
        self.assertEqual([], self.failed)

    def test_the_manager_that_is_here(self):
        manager = compute_manager.ComputeManager
        self.assertLess(set(origin.PARAMETERS), set(inspect.signature(
            manager._do_rebuild_instance).parameters))
        self.assertEqual(
            inspect.signature(manager._do_rebuild_instance),
            inspect.signature(Manager._do_rebuild_instance))
