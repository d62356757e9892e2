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

"""What the other tests do with disks in files, with disks in Ceph."""

import os
import shutil
import statistics
import time

import fixtures

from nova.virt import node

from tests.ceph import cluster as ceph_cluster
from tests.ceph import lifecycle
from tests.lifecycle import harness
from tests.lifecycle import servers
from tests.lifecycle import test_images
from tests.lifecycle import test_memory
from tests.lifecycle import test_power
from tests.lifecycle import test_resize


class PowerTest(lifecycle.OnCeph, test_power.PowerTest):
    pass


class RebuildTest(lifecycle.OnCeph, test_images.RebuildTest):
    pass


class RescueTest(lifecycle.OnCeph, test_images.RescueTest):
    pass


class ShelveTest(lifecycle.OnCeph, test_images.ShelveTest):
    pass


class ResizeTest(lifecycle.OnCeph, test_resize.ResizeTest):
    # a revert on the same host leaves a folder otherwise, of stock servers too
    removes_folders = False


class MemoryTest(lifecycle.OnCeph, test_memory.MemoryTest):
    pass


class EvacuateTest(lifecycle.OnCeph, harness.NovaTestCase):
    """A host that is lost, and another one that goes on with its server.

    Both are one libvirt, so that the first cannot come back beside the second.
    """

    def test_evacuate(self):
        server = self.boot()
        self.hear(server, 1, **harness.FLEXMEM)
        self.act(server, 'reboot', {'type': 'HARD'})
        self.hear(server, 2)
        key = self.base_key(server)

        self.lose_host(server)
        self.start_other_host()
        self.api.post_server_action(server['id'], {'evacuate': {
            'host': 'other'}})
        # it is not started, as the old host may not be dead
        self.wait_status(server, 'SHUTOFF')
        self.act(server, 'os-start')
        # all files that it wrote before are whole
        self.hear(server, 3, **harness.FLEXMEM)
        self.assertEqual(key, self.base_key(server))
        self.act(server, 'reboot', {'type': 'HARD'})
        self.hear(server, 4, **harness.FLEXMEM)
        self.delete(server)

    def lose_host(self, server):
        """Lose the host of a server, with all that is in its folders."""
        domain = self.domain(server)
        domain.destroy()  # QEMU is killed
        domain.undefine()
        self.compute.stop()
        shutil.rmtree(self.instances)
        self.store.release(self.base_key(server), server['id'])
        [service] = self.api.get_services(host='compute',
                                          binary='nova-compute')
        self.api.put_service_force_down(service['id'], True)

    def start_other_host(self):
        self.instances = os.path.join(self.folder, 'other')
        os.mkdir(self.instances)
        self.flags(instances_path=self.instances)
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.host.Host.get_hostname', lambda _host: 'other'))
        node.LOCAL_NODE_UUID = None  # of the first host
        self.compute = self._start_compute('other')
        self.wait(lambda: self.compute.driver._readiness.fit,
                  servers.BUILD_TIMEOUT_S, lambda: (
                      f'not fit: {self.compute.driver._readiness.findings}'))
        self._run_periodics()


class SnapshotTest(lifecycle.OnCeph, harness.NovaTestCase):
    """Layered snapshots that never leave Ceph."""

    def test_snapshot_of_snapshot(self):
        server = self.boot()
        self.hear(server, 1, **harness.FLEXMEM)
        key = self.base_key(server)

        snapshot = self.snapshot(server)
        self.hear(server, 1)  # it was not suspended
        self.assertIsNone(self.glance.files[snapshot])
        second = self.boot(image=snapshot)
        self.hear(second, 2, **harness.FLEXMEM)
        deeper = self.snapshot(second)
        third = self.boot(image=deeper)
        self.hear(third, 3, **harness.FLEXMEM)
        self.assertEqual({key}, {self.base_key(one)
                                 for one in (server, second, third)})
        self.delete(server, second, third)

    def test_an_image_that_is_elsewhere(self):
        server = self.boot()
        self.hear(server, 1, **harness.FLEXMEM)
        self.glance.shows_locations = False
        before = self.cluster.images(ceph_cluster.IMAGES_POOL)
        self.assertIn('stop it first', self.why_refused(
            server, 'createImage', {'name': 'none'}))
        self.hear(server, 1)
        self.assertEqual(before,
                         self.cluster.images(ceph_cluster.IMAGES_POOL))

        self.act(server, 'os-stop', until='SHUTOFF')
        snapshot = self.api.post_server_action(
            server['id'], {'createImage': {'name': 'cold'}})['image_id']
        self.wait(lambda: self.glance.files.get(snapshot),
                  servers.ACTION_TIMEOUT_S, lambda: 'no snapshot')
        self.wait_status(server, 'SHUTOFF')
        second = self.boot(image=snapshot)  # it is downloaded
        self.hear(second, 2, **harness.FLEXMEM)
        self.delete(server, second)


class OutageTest(lifecycle.OnCeph, harness.NovaTestCase):
    """A Ceph that is gone for a minute."""

    def test_outage(self):
        server = self.boot()
        self.hear(server, 1, **harness.FLEXMEM)
        self.api.post_server_action(server['id'],
                                    {'reboot': {'type': 'SOFT'}})
        time.sleep(5)  # it writes as it stops and starts
        self.cluster.stop_daemon('osd')
        time.sleep(60)
        self.cluster.start_daemon('osd', '0')
        self.wait_status(server, 'ACTIVE')
        self.hear(server, 2, **harness.FLEXMEM)
        self.delete(server)


class FiguresTest(lifecycle.OnCeph, harness.NovaTestCase):
    """What a first boot takes of Ceph and of time, beside stock clones."""

    boots = 3

    def test_first_boots(self):
        stock_flavor = self.make_flavor(flexmem_policy='disabled')
        self.delete(self.boot())  # the base is there now
        self.time_spawns()
        space = {}
        for kind, flavor, said in (
                ('stock', stock_flavor, harness.STOCK),
                ('FlexMem', self.flavor, harness.FLEXMEM)):
            for boot in range(self.boots):
                server = self.boot(flavor=flavor)
                if boot == 0:
                    self.hear(server, 1, **said)
                    space[kind] = self.cluster.used(
                        f'{ceph_cluster.POOL}/{server["id"]}_disk')
                self.delete(server)
        stock_s, flexmem_s = (
            statistics.median(self.spawns[part * self.boots:][:self.boots])
            for part in (0, 1))
        print(f'\nspawn to libvirt start, median of {self.boots}: stock'
              f' {stock_s:.2f} s, FlexMem {flexmem_s:.2f} s (ratio'
              f' {flexmem_s / stock_s:.2f}); space after the first boot: stock'
              f' {space["stock"] >> 20} MiB, FlexMem'
              f' {space["FlexMem"] >> 20} MiB')
        # what doc/source/ceph.rst says
        self.assertLess(space['FlexMem'], 64 << 20)

    def time_spawns(self):
        """Note how long spawns take until libvirt gets the domain."""
        driver = self.compute.driver
        spawn, start = driver.spawn, driver._create_guest_with_network
        self.spawns = []
        began = []

        def timed_spawn(*args, **kwargs):
            began.append(time.monotonic())
            return spawn(*args, **kwargs)

        def timed_start(*args, **kwargs):
            self.spawns.append(time.monotonic() - began.pop())
            return start(*args, **kwargs)
        driver.spawn = timed_spawn
        driver._create_guest_with_network = timed_start
