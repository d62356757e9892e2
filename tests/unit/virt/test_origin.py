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

import inspect
import types

import testtools

from nova.compute import manager as compute_manager
from nova import safe_utils

from nova_flexmem.virt import origin

_BEFORE = {'image_base_image_ref': 'old', 'image_os_type': 'linux',
           'image_kernel_id': 'nokernel', 'image_hw_disk_bus': 'virtio',
           'owner_user_name': 'somebody', 'flexmem_base_image': 'other'}


class Instance(types.SimpleNamespace):
    """As Nova's API leaves it."""

    def __init__(self, image_ref='new'):
        super().__init__(
            uuid='an-instance', image_ref=image_ref, kernel_id='a-kernel',
            ramdisk_id='a-ramdisk', os_type=None, architecture='s390x',
            vm_mode=None, saved=0, system_metadata={
                'image_base_image_ref': 'new', 'image_hw_disk_bus': 'ide',
                'image_hw_machine_type': 'q35', 'owner_user_name': 'somebody',
                'flexmem_base_image': 'other'})

    def save(self):
        self.saved += 1


def _decorated(function):
    return lambda *args, **kwargs: function(*args, **kwargs)


class Manager:
    """A ComputeManager whose driver refuses, or not."""

    def __init__(self, rebuild):
        self._rebuild = rebuild

    @_decorated
    def rebuild_instance(self, context, instance, orig_image_ref, image_ref,
                         orig_sys_metadata, recreate=False):
        return self._rebuild(instance)


class OriginsTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.origins = origin.Origins()

    def rebuild(self, instance, act, **changes):
        manager = Manager(act)
        self.origins.watch(manager)
        return manager.rebuild_instance(None, **{
            'instance': instance, 'orig_image_ref': 'old',
            'image_ref': 'new', 'orig_sys_metadata': _BEFORE} | changes)

    def test_a_refusal(self):
        def refuse(instance):
            self.origins.put_back(instance)
            raise ValueError

        instance = Instance()
        self.assertRaises(ValueError, self.rebuild, instance, refuse)
        self.assertEqual(_BEFORE, instance.system_metadata)
        self.assertEqual(
            ('old', '', '', 'linux', None, None, 1),
            (instance.image_ref, instance.kernel_id, instance.ramdisk_id,
             instance.os_type, instance.architecture, instance.vm_mode,
             instance.saved))

    def test_one_that_boots_from_a_volume(self):
        instance = Instance(image_ref='')
        self.rebuild(instance, self.origins.put_back)
        self.assertEqual('', instance.image_ref)
        self.assertEqual(_BEFORE, instance.system_metadata)

    def test_what_is_not_refused(self):
        self.assertEqual('done', self.rebuild(Instance(), lambda _: 'done'))
        # what an instance was is forgotten with its rebuild
        instance = Instance()
        self.origins.put_back(instance)
        self.assertEqual(('new', 0), (instance.image_ref, instance.saved))

    def test_an_evacuation(self):
        instance = Instance()
        self.rebuild(instance, self.origins.put_back, orig_image_ref=None,
                     orig_sys_metadata=None)
        self.assertEqual(('new', 0), (instance.image_ref, instance.saved))

    def test_the_manager_that_is_here(self):
        parameters = inspect.signature(safe_utils.get_wrapped_function(
            compute_manager.ComputeManager.rebuild_instance)).parameters
        self.assertLess({'instance', 'orig_image_ref', 'orig_sys_metadata'},
                        set(parameters))
