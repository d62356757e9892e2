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


"""Nova in one process on a real libvirt, for tests of the life cycle.

Nova's own fixtures run the REST API, the conductor, the scheduler, the compute
manager and Placement. What they would replace below these is left as it is:
the driver is the real one, and libvirtd, QEMU and the guests are.
"""

import atexit
import contextlib
import functools
import os
import shutil
import sys
import tempfile
import threading
import uuid

import fixtures
import libvirt
import os_brick.privileged
import os_vif

import nova.conf
from nova.tests import fixtures as nova_fixtures
from nova.tests.functional import integrated_helpers

from nova_flexmem import accel
from nova_flexmem import conf as flexmem_conf
from nova_flexmem.demo import hypervisor
from nova_flexmem.virt import hook
from nova_flexmem.virt import worker
from tests.functional import harness as functional_harness
from tests.lifecycle import servers
from tests.lifecycle import services
from tests.witness import guest_image

CONF = nova.conf.CONF

FOLDERS = '/var/tmp'

#: The fixtures of Nova that keep tests away from the real host.
_KEEPERS = ('PoisonFunctions', 'GenericPoisonFixture', 'SysFsPoisonFixture',
            'ImportModulePoisonFixture', 'WarningsFixture')

#: Extra specs of flavors that get FlexMem or nothing.
REQUIRED = {'flexmem_policy': 'required',
            'trait_CUSTOM_FLEXMEM': 'required'}

#: What the witness says of its root filesystem.
FLEXMEM = {'root': 'overlay', 'lower': 'erofs'}
STOCK = {'root': 'ext4', 'lower': ''}

#: Of one test; the longest takes two minutes on two cores without KVM.
_TIMEOUT_S = 2700


class Nothing(fixtures.Fixture):
    """Takes the place of a fixture that does too much."""

    def __init__(self, *args, **kwargs):
        super().__init__()


@functools.cache
def shared_folder():
    """Return a folder of this process, with a base store in it.

    Tests share the bases of images, each of which takes most of a minute to
    build without KVM.
    """
    folder = _new_folder()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    functional_harness.new_store(folder)
    return folder


def _new_folder():
    folder = tempfile.mkdtemp(prefix='flexmem-lifecycle-', dir=FOLDERS)
    os.chmod(folder, 0o711)  # QEMU runs as a user of its own
    return folder


@functools.cache
def _run_event_loop():
    """Run libvirt's event loop, of which a process can have but one."""
    libvirt.virEventRegisterDefaultImpl()

    def run():
        while True:
            libvirt.virEventRunDefaultImpl()
    threading.Thread(target=run, daemon=True).start()


class NovaTestCase(servers.Servers,
                   integrated_helpers._IntegratedTestBase):
    """A Nova with one compute, image 'witness' and a flavor.

    :cvar compute_driver: as the option of that name
    :cvar images_type: as the option [libvirt]images_type
    :cvar image_format: that of the images that are in Glance
    :cvar glance_class: takes the place of Nova's fixture of Glance
    :cvar own_store: whether each test begins with an empty base store
    :cvar flexmem: {option: value} of group [flexmem]
    :ivar builds: keys of the bases that were built during the test
    :cvar extra_specs: of the flavor
    """

    ADMIN_API = True
    CAST_AS_CALL = False
    microversion = 'latest'

    compute_driver = 'flexmem.FlexMemDriver'
    images_type = 'default'
    image_format = 'qcow2'
    glance_class = services.Glance
    own_store = False
    flexmem: dict[str, object] = {}
    extra_specs = {'flexmem:policy': 'required',
                   'trait:CUSTOM_FLEXMEM': 'required'}

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest('needs root, to run guests as Nova does')
        # one that waits for ever would keep all others from being told of
        self.useFixture(fixtures.Timeout(_TIMEOUT_S, gentle=True))
        self._patch_nova()
        self.folder = _new_folder()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.instances = os.path.join(self.folder, 'instances')
        os.mkdir(self.instances)
        self.glance_class.folder = self.folder
        self._set_options()
        hook.extend_nova_virt()
        # privileged calls are made in this process
        self.useFixture(nova_fixtures.PrivsepFixture())
        self.useFixture(fixtures.MockPatchObject(
            os_brick.privileged.default, 'client_mode', False))
        super().setUp()
        if 'flexmem' in self.compute_driver:
            self._await_trait()
        self.image = self.add_image(
            'witness', image_id=str(uuid.uuid5(uuid.NAMESPACE_URL, 'witness')))
        self.flavor = self.make_flavor()
        self.addCleanup(self._remove_domains)

    def _patch_nova(self):
        replaced = {
            **{f'nova.tests.fixtures.{name}': Nothing for name in _KEEPERS},
            'nova.tests.fixtures.GlanceFixture': self.glance_class,
            'nova.tests.fixtures.NeutronFixture': services.Neutron,
            'nova.tests.fixtures.CinderFixture': services.Cinder,
            'nova.virt.libvirt.host._ThreadingLibvirtEventHandler.start':
                lambda _handler: _run_event_loop(),
            # waits for libvirt to go away, for ever
            'nova.virt.libvirt.host.Host._conn_event_thread':
                lambda _host: None,
            # Nova's fixtures wait for each other for ever else: who writes to
            # a database, for a reader's lock; a writer of that lock who is
            # first, for its readers; and one of these, for the database
            'fasteners.ReaderWriterLock.has_pending_writers': False,
            # on the same libvirt are the guests of other workers
            'nova.compute.manager.ComputeManager._sanity_check_new_host':
                lambda _manager: None}
        for name, value in replaced.items():
            self.useFixture(fixtures.MonkeyPatch(name, value))
        self.builds = []
        call = worker.call

        def counted_call(task, group, **arguments):
            answer = call(task, group, **arguments)
            if task == 'build' and answer['new']:
                self.builds.append(answer['key'])
            return answer
        self.useFixture(fixtures.MonkeyPatch(
            'nova_flexmem.virt.worker.call', counted_call))

    def _set_options(self):
        flexmem_conf.register_opts(CONF)
        self.flags(instances_path=self.instances, state_path=self.folder,
                   # another worker's domains are on the same libvirt
                   instance_name_template=f'test{os.getpid()}-%08x',
                   allow_resize_to_same_host=True, my_ip='127.0.0.1',
                   shutdown_timeout=120, vif_plugging_timeout=0,
                   vif_plugging_is_fatal=False, service_down_time=3600,
                   mkisofs_cmd='xorrisofs')
        self.flags(api_paste_config=os.path.join(
            sys.prefix, 'etc/nova/api-paste.ini'), group='wsgi')
        self.flags(virt_type='kvm' if accel.kvm_works() else 'qemu',
                   connection_uri=hypervisor.URI,
                   images_type=self.images_type, group='libvirt')
        if self.own_store:
            functional_harness.new_store(self.folder)
        self.flags(**{'store_path': os.path.join(
            self.folder if self.own_store else shared_folder(), 'store')}
            | self.flexmem, group='flexmem')

    def _setup_compute_service(self):
        os_vif.initialize()
        self.flags(compute_driver=self.compute_driver)
        return self._start_compute('compute')

    def _start_compute(self, host, cell_name=None):
        compute = super()._start_compute(host, cell_name)
        # what libvirt reports would go to a service that is gone
        self.addCleanup(compute.driver._host.get_connection().close)
        return compute

    def _await_trait(self):
        """Wait until Placement knows that the host has the trait."""
        def reported():
            return 'CUSTOM_FLEXMEM' in self.provider('traits')
        self.wait(reported, servers.BUILD_TIMEOUT_S, lambda: (
            f'the host is not fit: {self.compute.driver._readiness.findings}'))

    def provider(self, what):
        """Return what Placement knows of the host.

        :param what: 'traits' or 'inventories'
        """
        self._run_periodics()  # as nova-compute does each minute
        [found] = self.placement.get('/resource_providers').body[
            'resource_providers']
        return self.placement.get(
            f'/resource_providers/{found["uuid"]}/{what}',
            version='1.6').body[what]

    def restart_compute(self):
        """Stop nova-compute, and start it anew."""
        self.compute.stop()
        self.compute = self._start_compute('compute')
        if 'flexmem' in self.compute_driver:
            self._await_trait()

    def _remove_domains(self):
        connection = libvirt.open(hypervisor.URI)
        self.addCleanup(connection.close)
        for domain in connection.listAllDomains():
            # those of other tests may end meanwhile
            with contextlib.suppress(libvirt.libvirtError):
                if self.instances not in domain.XMLDesc():
                    continue
                if domain.isActive():
                    domain.destroy()
                domain.undefine()

    def add_image(self, name, disk_format=None, image_id=None, **properties):
        """Put the witness into Glance under a name; returns the image's id."""
        disk_format = disk_format or self.image_format
        built = guest_image.build(functional_harness.CACHE, name)
        return self.glance.add(getattr(built, disk_format), disk_format,
                               image_id, **properties)
