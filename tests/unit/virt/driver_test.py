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

"""A FlexMemDriver on Nova's fake libvirt, with a real store and real disks."""

import contextlib
import json
import os
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

from nova_flexmem.build import bootfiles
from nova_flexmem.host import preflight
from nova_flexmem.store import basefiles
from nova_flexmem.virt import driver as flexmem_driver
from nova_flexmem.virt import layered
from nova_flexmem.virt import policy
from nova_flexmem.virt import record as record_module
from nova_flexmem.virt import worker
from tests.unit.image import samples

CONF = nova.conf.CONF

#: An image of Nova's GlanceFixture: raw, active and public.
IMAGE = '155d900f-4e14-4e4c-a73d-069cbf4541e6'
KEY = 'a' * 32
OTHER_KEY = 'b' * 32

NO_DEVICES = {'root_device_name': '/dev/vda', 'swap': None, 'image': [],
              'ephemerals': [], 'block_device_mapping': []}


class DriverTest(test.NoDBTestCase):

    REQUIRES_LOCKING = True

    def setUp(self):
        super().setUp()
        folder = self.useFixture(fixtures.TempDir()).path
        self.flags(instances_path=os.path.join(folder, 'instances'))
        os.mkdir(CONF.instances_path)
        self.flags(virt_type='kvm', images_type='flat', group='libvirt')
        self.flags(store_path=os.path.join(folder, 'store'), group='flexmem')
        os_vif.initialize()
        self.useFixture(nova_fixtures.LibvirtFixture())
        self.useFixture(nova_fixtures.CGroupsFixture())
        self.glance = self.useFixture(nova_fixtures.GlanceFixture(self))
        self.stub_out('nova.objects.Instance.save', lambda *_, **__: None)
        self.stub_out('nova.virt.libvirt.LibvirtDriver'
                      '._register_undefined_instance_details',
                      lambda *_, **__: None)
        self.stub_out('nova_flexmem.virt.bring.hosts_with', lambda *_: [])
        self.stub_out('nova_flexmem.virt.worker.call', self.work)
        self.events = []
        self.stub_out('nova.compute.utils.EventReporter', self.event)
        self.context = context.RequestContext('a-user', 'a-project')
        self.network = fake_network.fake_get_instance_nw_info(self)
        virtapi = fake.FakeVirtAPI()
        virtapi.reportclient = mock.Mock()
        virtapi.reportclient.get_allocs_for_consumer.return_value = {
            'allocations': {}}
        self.driver = flexmem_driver.FlexMemDriver(virtapi, False)
        self.driver.get_info = lambda *_args, **_kwargs: (
            hardware.InstanceInfo(state=1))
        self.domains = []
        self.driver._create_guest_with_network = self.start
        self.driver._create_guest = self.start
        self.set_fit(True)
        self.publish(KEY)

    def start(self, _context, xml, *_args, **_kwargs):
        self.domains.append(xml)

    @contextlib.contextmanager
    def event(self, _context, name, _host, _uuid):
        self.events.append(name)
        yield

    def work(self, task, group, **arguments):
        """Do in this process what a worker would do, but build nothing."""
        self.assertNotEqual('build', task, arguments)
        conf = mock.Mock(flexmem=group)
        return worker.TASKS[task](conf, **arguments)

    def set_fit(self, fit):
        self.driver._readiness.findings = [preflight.Finding(
            'device', fit, 'QEMU has no nvdimm')]
        self.driver._readiness._known.set()

    @property
    def store(self):
        return self.driver._bases.store

    def publish(self, key, **facts):
        samples.publish(self.store, key, **{
            'boot_id': bootfiles.boot_id(), 'rootfs_asked': 'auto',
            'image_sha256': '5' * 64} | facts)
        self.store.set_name(f'{IMAGE}.auto', key)

    def flavor(self, **specs):
        return objects.Flavor(
            id=1, flavorid='f', name='f', memory_mb=512, vcpus=1, root_gb=1,
            ephemeral_gb=0, swap=0, rxtx_factor=1.0, vcpu_weight=None,
            extra_specs={name.replace('__', ':'): value
                         for name, value in specs.items()})

    def image_meta(self, **properties):
        return objects.ImageMeta.from_dict({
            'id': IMAGE, 'name': 'image', 'disk_format': 'raw',
            'container_format': 'bare', 'size': 9, 'min_disk': 0,
            'min_ram': 0, 'properties': properties})

    def instance(self, flavor=None, **fields):
        flavor = flavor or self.flavor(flexmem__policy='required')
        instance = fake_instance.fake_instance_obj(
            self.context, **{
                'flavor': flavor, 'image_ref': IMAGE, 'kernel_id': '',
                'ramdisk_id': '', 'root_device_name': '/dev/vda',
                'os_type': None, 'config_drive': '', 'memory_mb': 512,
                'vcpus': 1, 'root_gb': flavor.root_gb, 'ephemeral_gb': 0,
                'ephemeral_key_uuid': None, 'project_id': 'a-project',
                'expected_attrs': ['system_metadata']} | fields)
        instance.system_metadata = {}
        for name in ('numa_topology', 'pci_requests', 'pci_devices',
                     'resources', 'migration_context', 'trusted_certs',
                     'vcpu_model'):
            setattr(instance, name, None)
        instance.info_cache = objects.InstanceInfoCache(
            network_info=self.network)
        return instance

    def spawn(self, instance, image_meta=None, allocations=None):
        self.driver.spawn(self.context, instance,
                          image_meta or self.image_meta(), [], None,
                          allocations or {}, network_info=self.network,
                          block_device_info=NO_DEVICES)
        return instance

    def spawned(self, **specs):
        """Return an instance that runs."""
        return self.spawn(self.instance(
            self.flavor(flexmem__policy='required', **specs)))

    def folder(self, instance):
        return os.path.join(CONF.instances_path, instance.uuid)

    def record(self, instance):
        return record_module.read(self.folder(instance))

    def write_record(self, instance, **changes):
        path = os.path.join(self.folder(instance), record_module.NAME)
        with open(path) as f:
            fields = json.load(f)
        with open(path, 'w') as f:
            json.dump(fields | changes, f)

    def xml(self, instance, **how):
        """Return the domain that the instance starts with the next time."""
        info = blockinfo.get_disk_info(
            CONF.libvirt.virt_type, instance, self.image_meta(), NO_DEVICES,
            rescue=bool(how.get('rescue')))
        return self.driver._get_guest_xml(
            self.context, instance, self.network, info, self.image_meta(),
            block_device_info=NO_DEVICES, **how)

    def snapshot_in_glance(self, instance, **changes):
        """Upload a layered snapshot of an instance; return its image."""
        properties = layered.properties(self.record(instance)) | changes
        image = self.glance.create(self.context, {
            'name': 'snapshot', 'disk_format': 'raw', 'status': 'active',
            'container_format': 'bare', 'properties': properties})
        return image['id'], objects.ImageMeta.from_dict(image | {
            'properties': {'trait:' + layered.TRAIT: 'required',
                           policy.IMAGE_POLICY: 'required'}})


def digests_of(folder):
    """Return what a record says of a folder with kernel and initramfs."""
    return {f'{name}_sha256': basefiles.File.of(
        os.path.join(folder, name)).sha256 for name in ('kernel', 'initramfs')}
