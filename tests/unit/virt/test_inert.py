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


"""Inertness: without FlexMem, instances get what LibvirtDriver gives them.

Both drivers spawn, rescue and start the same instances on Nova's fake libvirt,
and are compared in the domains and in what they ask of the image backend.
"""

import copy
import functools
import itertools
import os
import re
from unittest import mock

import fixtures
import os_vif

import nova.conf
from nova import context
from nova import objects
from nova import test
from nova.tests import fixtures as nova_fixtures
from nova.tests.unit import fake_instance
from nova.tests.unit import fake_network
from nova.virt import fake
from nova.virt import hardware
from nova.virt.libvirt import blockinfo
from nova.virt.libvirt import driver as libvirt_driver

from nova_flexmem.virt import driver as flexmem_driver

CONF = nova.conf.CONF

GIB = 1 << 30
IMAGE = '155d900f-4e14-4e4c-a73d-069cbf4541e6'

#: Extra specs; ephemeral and swap are fields of the flavor.
FLAVORS = {
    'plain': {},
    'more disks': {'ephemeral_gb': 2, 'swap': 64},
    'no disk size': {'root_gb': 0},
    'topology': {'vcpus': 4, 'hw:cpu_sockets': '2', 'hw:cpu_cores': '2'},
    'numa': {'vcpus': 4, 'hw:numa_nodes': '2'},
    'limits': {'quota:cpu_shares': '512', 'quota:disk_read_iops_sec': '99',
               'quota:vif_inbound_average': '10'},
    'watchdog': {'hw:watchdog_action': 'reset'},
    'random': {'hw_rng:allowed': 'True', 'hw_rng:rate_bytes': '9'},
    'boot menu': {'hw:boot_menu': 'true'},
    'hidden': {'hide_hypervisor_id': 'true'},
    'says no': {'flexmem:policy': 'disabled', 'flexmem:writes': 'memory'}}

#: Image properties.
IMAGES = {
    'plain': {},
    'q35': {'hw_machine_type': 'q35'},
    'uefi': {'hw_machine_type': 'q35', 'hw_firmware_type': 'uefi'},
    'virtio-scsi': {'hw_disk_bus': 'scsi', 'hw_scsi_model': 'virtio-scsi'},
    'ide': {'hw_disk_bus': 'ide', 'hw_cdrom_bus': 'ide',
            'hw_vif_model': 'e1000'},
    'sata': {'hw_machine_type': 'q35', 'hw_disk_bus': 'sata'},
    'agent': {'hw_qemu_guest_agent': 'yes'},
    'random': {'hw_rng_model': 'virtio'},
    'watchdog': {'hw_watchdog_action': 'poweroff'},
    'video': {'hw_video_model': 'qxl', 'hw_pointer_model': 'usbtablet'},
    'windows': {'os_type': 'windows'},
    'rescue': {'hw_rescue_device': 'cdrom', 'hw_rescue_bus': 'sata',
               'hw_machine_type': 'q35'},
    'says no': {'flexmem_policy': 'disabled'}}

NO_DEVICES = {'root_device_name': '/dev/vda', 'swap': None, 'image': [],
              'ephemerals': [], 'block_device_mapping': []}


class InertTest(test.NoDBTestCase):

    REQUIRES_LOCKING = True

    def setUp(self):
        super().setUp()
        folder = self.useFixture(fixtures.TempDir()).path
        self.flags(instances_path=folder)
        self.flags(virt_type='kvm', group='libvirt')
        self.flags(store_path=os.path.join(folder, 'store'), group='flexmem')
        os_vif.initialize()
        self.useFixture(nova_fixtures.LibvirtFixture())
        self.useFixture(nova_fixtures.CGroupsFixture())
        self.useFixture(nova_fixtures.GlanceFixture(self))
        self.stub_out('nova.objects.Instance.save', lambda *_, **__: None)
        # asks libvirt for the domain, and there is none
        self.stub_out('nova.virt.libvirt.LibvirtDriver'
                      '._register_undefined_instance_details',
                      lambda *_, **__: None)
        self.context = context.get_admin_context()
        self.network = fake_network.fake_get_instance_nw_info(self)

    def seen(self, driver_class, instance, image_meta):
        """Return all that a driver does with an instance, as text."""
        disks = nova_fixtures.LibvirtImageBackendFixture(
            exists=lambda _name: False)
        instance = copy.deepcopy(instance)
        image_meta = copy.deepcopy(image_meta)
        with disks:
            driver = driver_class(fake.FakeVirtAPI(), False)
            domains = []

            def start(_context, xml, *args, **kwargs):
                domains.append(xml)
            driver._create_guest_with_network = start
            driver._create_guest = start
            driver.get_info = lambda *_args, **_kwargs: (
                hardware.InstanceInfo(state=1))
            driver.spawn(self.context, instance, image_meta, [], None, {},
                         network_info=self.network,
                         block_device_info=NO_DEVICES)
            for rescue in (None, {'image_id': IMAGE, 'kernel_id': None,
                                  'ramdisk_id': None}):
                info = blockinfo.get_disk_info(
                    CONF.libvirt.virt_type, instance, image_meta, NO_DEVICES,
                    rescue=bool(rescue))
                domains.append(driver._get_guest_xml(
                    self.context, instance, self.network, info, image_meta,
                    rescue=rescue, block_device_info=NO_DEVICES))
            self.assertEqual(3, len(domains))
            calls = [f'{name}.{_described(call)}'
                     for name, disk in sorted(disks.disks.items())
                     for call in disk.mock_calls]
        self.assertIn('cache', ' '.join(calls))
        return '\n'.join([*domains, *calls, str(instance.system_metadata)])

    def compare(self, flavor, properties, config_drive):
        fields = {'vcpus': 1, 'root_gb': 2, 'ephemeral_gb': 0, 'swap': 0}
        specs = dict(flavor)
        for name in fields:
            fields[name] = specs.pop(name, fields[name])
        flavor = objects.Flavor(
            id=1, flavorid='f', name='f', memory_mb=512, extra_specs=specs,
            rxtx_factor=1.0, vcpu_weight=None, **fields)
        image_meta = objects.ImageMeta.from_dict({
            'id': IMAGE, 'name': 'image', 'disk_format': 'qcow2',
            'container_format': 'bare', 'size': 9, 'min_disk': 0, 'min_ram': 0,
            'properties': properties})
        instance = fake_instance.fake_instance_obj(
            self.context, flavor=flavor, image_ref=IMAGE, kernel_id='',
            ramdisk_id='', root_device_name='/dev/vda', os_type=None,
            config_drive='True' if config_drive else '',
            memory_mb=512, vcpus=fields['vcpus'], root_gb=fields['root_gb'],
            ephemeral_gb=fields['ephemeral_gb'],
            ephemeral_key_uuid=None, expected_attrs=['system_metadata'])
        instance.system_metadata = {
            f'image_{name}': value for name, value in properties.items()}
        instance.numa_topology = hardware.numa_get_constraints(flavor,
                                                               image_meta)
        for name in ('pci_requests', 'pci_devices', 'resources',
                     'migration_context', 'trusted_certs', 'vcpu_model'):
            setattr(instance, name, None)
        instance.info_cache = objects.InstanceInfoCache(
            network_info=self.network)
        stock = self.seen(libvirt_driver.LibvirtDriver, instance, image_meta)
        ours = self.seen(flexmem_driver.FlexMemDriver, instance, image_meta)
        self.assertEqual(_timeless(stock), _timeless(ours))
        return stock

    def test_not_asked_for(self):
        """All flavors, and all images, with some of the others."""
        cases = {*itertools.product(FLAVORS, ('plain',)),
                 *itertools.product(('plain',), IMAGES),
                 *itertools.product(('more disks', 'numa'), ('q35', 'uefi'))}
        seen = [self.compare(FLAVORS[flavor], IMAGES[image], index % 2)
                for index, (flavor, image) in enumerate(sorted(cases))]
        # they do differ from each other
        self.assertGreater(len(set(map(_timeless, seen))), len(seen) // 2)

    def test_formats(self):
        for images_type in ('raw', 'qcow2', 'flat'):
            self.flags(images_type=images_type, group='libvirt')
            self.compare({'swap': 64}, {}, True)

    def test_preferred_but_impossible(self):
        """Who falls back gets nothing else than the stock root disk."""
        for properties in ({'hw_disk_bus': 'ide'},
                           {'hw_machine_type': 'q35',
                            'hw_disk_bus': 'sata'}):
            self.compare({'flexmem:policy': 'preferred'}, properties, False)

    def test_unlike_when_asked_for(self):
        """The comparison would see it if FlexMem were not inert."""
        mutant = type('Mutant', (flexmem_driver.FlexMemDriver,), {
            '_get_guest_xml': lambda self, *args, **kwargs: (
                super(mutant, self)._get_guest_xml(*args, **kwargs) + ' ')})
        with mock.patch.object(flexmem_driver, 'FlexMemDriver', mutant):
            self.assertRaises(AssertionError, self.compare, {}, {}, False)


def _described(call):
    """Return a call to a mock, with functions by their names."""
    name, args, kwargs = call
    words = [_value(arg) for arg in args] + [
        f'{key}={_value(value)}' for key, value in sorted(kwargs.items())]
    return f'{name}({", ".join(words)})'


def _value(value):
    if isinstance(value, functools.partial):
        return f'{_value(value.func)}{value.args}{value.keywords}'
    if isinstance(value, mock.NonCallableMock) or callable(value):
        return getattr(value, '__name__', type(value).__name__)
    if isinstance(value, context.context.RequestContext):
        return 'context'
    return re.sub(r'0x[0-9a-f]+', '', str(value))


def _timeless(text):
    return re.sub('<nova:creationTime>.*</nova:creationTime>', '', text)
