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

from unittest import mock

import nova.conf
from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects
from nova.tests.unit import fake_instance
from oslo_config import fixture as config_fixture
import testtools

from nova_flexmem import conf as flexmem_conf
from nova_flexmem import exception
from nova_flexmem.virt import eligibility

objects.register_all()

INSTANCE = '9223d50a-ce5d-4abe-a4c1-445961655457'


class EligibilityTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.conf = self.useFixture(
            config_fixture.Config(nova.conf.CONF)).conf
        flexmem_conf.register_opts(self.conf)
        self.conf.set_override('virt_type', 'qemu', 'libvirt')

    def check_addresses(self, memory_mb, specs=None, **properties):
        flavor = objects.Flavor(memory_mb=memory_mb, extra_specs=specs or {})
        base = mock.Mock()
        base.manifest.files = {'root.pmem': mock.Mock(size_bytes=1 << 30)}
        eligibility.check_addresses(
            objects.Instance(flavor=flavor), objects.ImageMeta.from_dict(
                {'properties': properties}), base)

    def test_addresses(self):
        self.check_addresses(512)
        self.check_addresses(1018 << 10, hw_machine_type='pc')
        for properties in ({'hw_machine_type': 'q35'},
                           {'hw_machine_type': 'pc',
                            'hw_maxphysaddr_bits': '39'}):
            e = self.assertRaises(exception.InstanceRefused,
                                  self.check_addresses, 1018 << 10,
                                  **properties)
            self.assertIn('hw:maxphysaddr_bits', str(e))
        self.check_addresses(1018 << 10, {'hw:maxphysaddr_bits': '42'},
                             hw_machine_type='q35')

    def check(self, specs=None, properties=None, vifs=(), volume=False,
              numa_topology=None, **fields):
        flavor = objects.Flavor(
            id=1, name='f', memory_mb=512, vcpus=1, root_gb=4, ephemeral_gb=0,
            swap=0, extra_specs=specs or {})
        instance = fake_instance.fake_instance_obj(
            nova_context.get_admin_context(), flavor=flavor,
            image_ref='image', **{'kernel_id': '', 'ramdisk_id': ''} | fields)
        instance.system_metadata = {}
        instance.numa_topology = numa_topology
        instance.pci_requests = objects.InstancePCIRequests(requests=[])
        meta = objects.ImageMeta.from_dict(
            {'id': 'image', 'disk_format': 'qcow2',
             'properties': properties or {}})
        eligibility.check(instance, meta, vifs,
                          {'root_device_name': '/dev/vda', 'swap': None,
                           'ephemerals': [], 'block_device_mapping': []},
                          volume)

    def assert_refused(self, word, *args, **kwargs):
        e = self.assertRaises(exception.InstanceRefused, self.check, *args,
                              **kwargs)
        self.assertIn(word, str(e))
        # as Nova words it; it keeps 255 characters for users to see
        shown = nova_exception.BuildAbortException(
            instance_uuid=INSTANCE,
            reason=nova_exception.ImageUnacceptable(
                image_id=INSTANCE, reason=str(e)).format_message())
        self.assertLessEqual(len(shown.format_message()), 255)

    def test_ordinary_instances(self):
        self.check()
        self.check({'hw:numa_nodes': '1', 'hw:watchdog_action': 'reset'},
                   {'hw_machine_type': 'pc-q35-7.2', 'hw_disk_bus': 'virtio',
                    'hw_firmware_type': 'uefi'})
        self.check(properties={'hw_disk_bus': 'scsi',
                               'hw_scsi_model': 'virtio-scsi'})

    def test_what_can_not_be(self):
        self.assert_refused('volume', volume=True)
        self.assert_refused('kernel of its own', kernel_id='a-kernel')
        self.assert_refused('aarch64',
                            properties={'hw_architecture': 'aarch64'})
        self.assert_refused('microvm',
                            properties={'hw_machine_type': 'microvm'})
        for spec in ('pci_passthrough:alias', 'accel:device_profile',
                     'resources:VGPU'):
            self.assert_refused('DMA beside a base is not proved', {spec: '1'})
        self.assert_refused('host device', vifs=[{'vnic_type': 'direct'}])
        self.assert_refused('encrypted', {'hw:mem_encryption': 'true'},
                            {'hw_firmware_type': 'uefi',
                             'hw_machine_type': 'q35'})
        self.assert_refused('Secure Boot', {'os:secure_boot': 'required'})
        self.assert_refused('bus ide', properties={'hw_disk_bus': 'ide'})
        self.assert_refused('bus scsi', properties={'hw_disk_bus': 'scsi'})

    def test_host_devices_that_the_operator_allows(self):
        self.conf.set_override('host_devices', True, 'flexmem')
        for spec in ('pci_passthrough:alias', 'accel:device_profile',
                     'resources:VGPU'):
            self.check({spec: '1'})
        for vnic_type in ('direct', 'direct-physical'):
            self.check(vifs=[{'vnic_type': vnic_type}])
        self.assert_refused('vDPA', vifs=[{'vnic_type': 'vdpa'}])

    def test_ports_that_are_attached(self):
        eligibility.check_interface({'vnic_type': 'normal'})
        for vnic_type in ('direct', 'vdpa', 'macvtap'):
            self.assertRaises(exception.InstanceRefused,
                              eligibility.check_interface,
                              {'vnic_type': vnic_type})

    def test_memory_that_is_locked(self):
        self.check({'hw:cpu_realtime': 'yes', 'hw:cpu_realtime_mask': '^0'})
        self.check({'hw:locked_memory': 'true', 'hw:mem_page_size': 'small'})

    def test_huge_pages(self):
        def topology(pagesize):
            return objects.InstanceNUMATopology(cells=[
                objects.InstanceNUMACell(id=0, cpuset={0}, pcpuset=set(),
                                         memory=512, pagesize=pagesize)])

        for pagesize in (None, 4, 2048, 1 << 20):
            self.check(numa_topology=topology(pagesize))

    def test_what_the_host_is_set_to(self):
        for images_type in ('qcow2', 'raw', 'flat', 'default', 'rbd'):
            self.conf.set_override('images_type', images_type, 'libvirt')
            self.check()
        for images_type in ('lvm', 'ploop'):
            self.conf.set_override('images_type', images_type, 'libvirt')
            self.assert_refused(images_type)
        self.conf.clear_override('images_type', 'libvirt')
        self.conf.set_override('inject_partition', -1, 'libvirt')
        self.assert_refused('config drive')
        self.check(config_drive='True')
        self.conf.clear_override('inject_partition', 'libvirt')
        self.conf.set_override('virt_type', 'lxc', 'libvirt')
        self.assert_refused('lxc')
