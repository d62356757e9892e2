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

"""policy preferred: whatever the reason against FlexMem, and however late."""

import os

from nova.conf import devices
from nova import exception as nova_exception
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.virt.libvirt import config as vconfig

from nova_flexmem import exception
from nova_flexmem.virt import layered
from tests.unit.virt import driver_test

_VGPU = {'gpu': {'resources': {'VGPU': 1}}}


class PreferredTest(driver_test.DriverTest):

    def setUp(self):
        super().setUp()
        self.roots = []
        self.stub_out('nova.virt.libvirt.LibvirtDriver'
                      '._create_and_inject_local_root', self.stock_root)

    def stock_root(self, _driver, _context, instance, *_args, **_kwargs):
        """Note what Nova finds when it makes a stock root disk."""
        self.roots.append(sorted(os.listdir(self.folder(instance))))
        return True

    def preferred(self, image_meta=None, allocations=None, **specs):
        return self.spawn(self.instance(self.flavor(
            flexmem__policy='preferred', **specs)), image_meta, allocations)

    def required(self, allocations=None, **specs):
        return self.spawn(self.instance(self.flavor(
            flexmem__policy='required', **specs)), allocations=allocations)

    def assert_stock(self, instance):
        self.assertEqual(1, len(self.roots), self.roots)
        self.assertEqual([], [name for name in self.roots[0]
                              if name != 'disk.info'])
        self.assertNotIn('flexmem-delta', self.domains[-1])
        self.assertIsNone(self.record(instance))
        self.assertNotIn(layered.SYSTEM_KEY, instance.system_metadata)
        self.assertFalse(instance.cleaned)
        self.assertEqual([], self.store.users(driver_test.KEY))
        self.assertEqual({}, self.driver._plans)

    def assert_refused(self, words, **how):
        before = self.folders()
        e = self.assertRaises(nova_exception.ImageUnacceptable, self.required,
                              **how)
        self.assertIn(words, str(e))
        self.assertEqual([], self.domains)
        self.assertEqual(before, self.folders())

    @staticmethod
    def folders():
        return os.listdir(driver_test.CONF.instances_path)

    def test_what_can_be(self):
        instance = self.preferred()
        self.assertEqual([], self.roots)
        self.assertIn('flexmem-delta', self.domains[0])
        self.assertIn(layered.SYSTEM_KEY, instance.system_metadata)

    def test_resources_of_any_group(self):
        for spec in ('resources:VGPU', 'resources1:VGPU', 'resources_X:VGPU',
                     'resources_my-group:VGPU'):
            self.assert_refused('host device', **{spec: '1'})
            del self.roots[:]
            self.assert_stock(self.preferred(**{spec: '1'}))
            del self.domains[:]

    def test_resources_that_are_no_devices(self):
        self.preferred(**{'resources:VGPU': '0', 'resources:VCPU': '1',
                          'resources:CUSTOM_VGPU_LICENSE': '1'})
        self.assertEqual([], self.roots)

    def test_custom_classes_of_mediated_devices(self):
        self.flags(enabled_mdev_types=['nvidia-35'], group='devices')
        devices.register_dynamic_opts(driver_test.CONF)
        self.flags(mdev_class='CUSTOM_NVME', group='mdev_nvidia-35')
        self.assert_refused('host device', **{'resources2:CUSTOM_NVME': '1'})
        self.assert_stock(self.preferred(**{'resources:CUSTOM_NVME': '2'}))

    def test_what_placement_gave(self):
        """Whatever the flavor has asked for it with."""
        self.driver.mdev_classes = {'VGPU', 'CUSTOM_NVME'}
        self.driver._allocate_mdevs = lambda _allocations: []
        custom = {'nvme': {'resources': {'CUSTOM_NVME': 1}}}
        for allocations in (_VGPU, custom):
            self.assert_refused('host device', allocations=allocations)
            del self.roots[:]
            self.assert_stock(self.preferred(allocations=allocations))
            del self.domains[:]

    def test_what_the_domain_alone_shows(self):
        make = self.driver._get_guest_config

        def with_host_device(*args, **kwargs):
            guest = make(*args, **kwargs)
            device = vconfig.LibvirtConfigGuestHostdevPCI()
            device.domain, device.bus = '0000', '06'
            device.slot, device.function = '12', '0'
            guest.add_device(device)
            return guest

        self.driver._get_guest_config = with_host_device
        self.assert_refused('host device')
        self.assert_stock(self.preferred())

    def test_nothing_is_left_of_the_rehearsal(self):
        self.flags(images_type='qcow2', group='libvirt')
        self.set_fit(False)
        instance = self.instance(self.flavor(flexmem__policy='preferred'))
        folders = []
        create = self.driver._create_image

        def note(*args, **kwargs):
            folders.append(self.folders())
            return create(*args, **kwargs)

        self.driver._create_image = note
        self.spawn(instance)
        self.assertEqual([[]], folders)

    def test_a_store_that_cannot_be_read(self):
        def fail(*_args, **_kwargs):
            raise OSError(30, 'Read-only file system')

        self.driver._bases.of_image = fail
        self.assert_stock(self.preferred())

    def test_a_delta_that_cannot_be_made(self):
        def fail(*_args):
            raise exception.ProgramFailed(program='mke2fs', reason='no room')

        self.stub_out('nova_flexmem.virt.rootdisk.provide', fail)
        self.assertRaises(nova_exception.Invalid, self.required)
        self.assertEqual([], self.roots)
        self.assert_stock(self.preferred())

    def test_a_base_that_is_gone_when_the_guest_starts(self):
        def fail(*_args):
            raise exception.BaseNotFound(key='k', store='s')

        self.driver._bases.of_record = fail
        self.assert_stock(self.preferred())

    def test_a_domain_that_libvirt_refuses(self):
        def start(_context, xml, *_args, **_kwargs):
            self.start(_context, xml)
            if 'flexmem-delta' in xml:
                raise fakelibvirt.make_libvirtError(
                    fakelibvirt.libvirtError, 'unsupported configuration')

        self.driver._create_guest_with_network = start
        instance = self.preferred()
        self.assertEqual(2, len(self.domains))
        self.assert_stock(instance)
        self.assertRaises(fakelibvirt.libvirtError, self.required)

    def test_what_has_nothing_to_do_with_flexmem(self):
        def start(_context, xml, *_args, **_kwargs):
            self.start(_context, xml)
            raise nova_exception.VirtualInterfaceCreateException()

        self.driver._create_guest_with_network = start
        self.assertRaises(nova_exception.VirtualInterfaceCreateException,
                          self.preferred)
        self.assertEqual(1, len(self.domains))
