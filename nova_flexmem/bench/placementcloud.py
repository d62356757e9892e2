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

"""A simulated cloud, on which Nova's own code places instances.

Nova's HostStates, filters and weighers choose the hosts. What is simulated is
what they read: compute nodes, as nova-compute would report them, and the room
that Placement would look for.
"""

import collections
import datetime
import time
import uuid

import nova.conf
from nova import objects
from nova.scheduler import filters
from nova.scheduler import host_manager
from nova.scheduler import manager
from nova.scheduler import weights

from nova_flexmem.bench import placementload
from nova_flexmem.scheduler import weigher
from nova_flexmem.virt import hoststats

CONF = nova.conf.CONF

#: Hosts are equal: (virtual processors, MiB of memory, GiB of disk).
ROOM = (256, 256 << 10, 8000)
_CPU_RATIO = 4.0

#: Those of Nova's weighers that can tell the hosts of this cloud apart, and
#: what can tell them apart for a request with a server group. To the others
#: all hosts are the same.
STOCK = ('cpu.CPUWeigher', 'ram.RAMWeigher', 'disk.DiskWeigher',
         'io_ops.IoOpsWeigher')
_GROUP_FILTERS = ('ServerGroupAntiAffinityFilter',
                  'ServerGroupAffinityFilter')
_GROUP_WEIGHERS = ('affinity.ServerGroupSoftAntiAffinityWeigher',
                   'affinity.ServerGroupSoftAffinityWeigher')

_CELL = str(uuid.UUID(int=1))
_NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


class Host:
    """A compute host.

    :ivar state: Nova's HostState
    :ivar used: of ROOM, what flavors take
    :ivar instances: {image: number of instances}
    :ivar reported: the same, as nova-compute has last reported it
    :ivar builds: number of instances that are being built
    """

    def __init__(self, number):
        name = f'host-{number:04}'
        self.state = host_manager.HostState(name, name, _CELL)
        self.used = [0, 0, 0]
        self.instances = {}
        self.reported = {}
        self.number = 0
        self.builds = 0
        self._node = objects.ComputeNode(
            uuid=str(uuid.uuid5(uuid.NAMESPACE_OID, name)), host=name,
            hypervisor_hostname=name, updated_at=_NOW, memory_mb=ROOM[1],
            vcpus=ROOM[0] / _CPU_RATIO, local_gb=ROOM[2], local_gb_used=0,
            disk_available_least=None, numa_topology=None, metrics=None,
            pci_device_pools=None, host_ip='192.0.2.1', cpu_info='',
            hypervisor_type='QEMU', hypervisor_version=7002000,
            supported_hv_specs=[], cpu_allocation_ratio=_CPU_RATIO,
            ram_allocation_ratio=1.0, disk_allocation_ratio=1.0)
        self.refresh()

    @property
    def load(self):
        """Return the share of the memory that flavors take."""
        return self.used[1] / ROOM[1]

    def has_room(self, flavor):
        """Return whether Placement would offer the host."""
        vcpus, ram, disk = placementload.FLAVORS[flavor]
        return (self.used[1] + ram <= ROOM[1] and
                self.used[0] + vcpus <= ROOM[0] and
                self.used[2] + disk <= ROOM[2])

    def take(self, flavor, number):
        """Have a number of instances of a flavor more, or less."""
        self.number += number
        self.used = [used + number * wanted for used, wanted in zip(
            self.used, placementload.FLAVORS[flavor])]

    def refresh(self):
        """Have Nova read what the host reports, as for each request."""
        vcpus, ram, disk = self.used
        self._node.vcpus_used = vcpus
        self._node.free_ram_mb = ROOM[1] - ram
        self._node.free_disk_gb = ROOM[2] - disk
        self._node.stats = {
            'num_instances': str(self.number),
            'io_workload': str(self.builds), **self.reported}
        self.state.updated = None
        self.state.update(self._node, {'host': self.state.host})

    def report(self):
        """Report the bases; what FlexMem's driver does each minute."""
        self.reported = hoststats.encode({
            (placementload.image_id(image), ''): number
            for image, number in self.instances.items()})
        self.refresh()


class Scheduler:
    """Nova's scheduler on simulated hosts.

    :param recent: answers what recent.Recent does; None: Nova's own weighers
        alone
    :ivar weighing_s: for each instance, processor time of all weighers
    :ivar own_s: the same of the FlexMem one alone
    """

    def __init__(self, hosts, recent):
        self._hosts = hosts
        self._filter_handler = filters.HostFilterHandler()
        by_name = {each.__name__: each for each in
                   self._filter_handler.get_all_classes()}
        self._filters = [by_name[name]() for name in _GROUP_FILTERS]
        self._handler = weights.HostWeightHandler()
        self._weighers = self._load(STOCK)
        self._group_weighers = self._load(_GROUP_WEIGHERS)
        self.weighing_s: list[float] = []
        self.own_s: list[float] = []
        if recent is not None:
            self._weighers.append(_timed(weigher.SameBaseWeigher(recent),
                                         self.own_s))
        self._by_state = {host.state: host for host in hosts}

    def place(self, request):
        """Return [(Host, instance uuid)] for the instances of a request.

        There are fewer if no host has room for more.
        """
        uuids = [str(uuid.uuid4()) for _instance in request.ends_s]
        spec = _spec(request, uuids)
        placed = []
        for instance_uuid in uuids:
            spec.instance_uuid = instance_uuid
            chosen = self._choose(spec, [
                host.state for host in self._hosts
                if host.has_room(request.flavor)])
            if chosen is None:
                break
            host = self._by_state[chosen]
            host.take(request.flavor, 1)
            manager.SchedulerManager._consume_selected_host(
                chosen, spec, instance_uuid)
            placed.append((host, instance_uuid))
        return placed

    def _load(self, names):
        return [each() for each in self._handler.get_matching_classes(
            [f'nova.scheduler.weights.{name}' for name in names])]

    def _choose(self, spec, states):
        weighers = self._weighers
        if spec.instance_group:
            states = list(self._filter_handler.get_filtered_objects(
                self._filters, states, spec) or ())
            weighers = self._group_weighers + weighers
        if not states:
            return None
        began = time.thread_time()
        weighed = self._handler.get_weighed_objects(weighers, states, spec)
        self.weighing_s.append(time.thread_time() - began)
        return weighed[0].obj


class Recent:
    """Finds instances that changed lately, as recent.Recent does."""

    def __init__(self, window_s):
        self._window_s = window_s
        self._changes: dict[str, collections.deque] = {}
        self.now_s = 0.0

    def note(self, image, host):
        """Note that an instance of an image changed now."""
        self._changes.setdefault(
            placementload.image_id(image), collections.deque()).append(
                (self.now_s, host.state.host))

    def instances(self, spec, _cell_uuids):
        """Return {host: number of instances}."""
        changes = self._changes.get(spec.image.id, ())
        while changes and changes[0][0] < self.now_s - self._window_s:
            changes.popleft()
        return collections.Counter(host for _at_s, host in changes)


def _timed(own, seconds):
    """Return a weigher that notes how long it takes."""
    weigh = own.weigh_objects

    def weigh_objects(*args):
        began = time.thread_time()
        found = weigh(*args)
        seconds.append(time.thread_time() - began)
        return found

    own.weigh_objects = weigh_objects
    return own


def _spec(request, uuids):
    vcpus, ram, disk = placementload.FLAVORS[request.flavor]
    group = objects.InstanceGroup(
        policy=request.group, policies=[request.group], rules={}, hosts=[],
        members=uuids
    ) if request.group else None
    return objects.RequestSpec(
        image=objects.ImageMeta(
            id=placementload.image_id(request.image),
            properties=objects.ImageMetaProps()),
        flavor=objects.Flavor(memory_mb=ram, vcpus=vcpus, root_gb=disk,
                              ephemeral_gb=0, extra_specs={}),
        num_instances=len(uuids), project_id='a-project', instance_group=group,
        pci_requests=None, numa_topology=None, is_bfv=False)
