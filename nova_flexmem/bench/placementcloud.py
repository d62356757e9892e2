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

"""The hosts of a simulated cloud, as Nova's scheduler knows them.

What is simulated is what Nova's HostStates are made of: compute nodes, as
nova-compute would report them, and the room that Placement would look for.
"""

import collections
import datetime
import uuid

import nova.conf
from nova import objects
from nova.scheduler import host_manager

from nova_flexmem.bench import placementload
from nova_flexmem.virt import hoststats

CONF = nova.conf.CONF

#: Hosts are equal: (virtual processors, MiB of memory, GiB of disk).
ROOM = (256, 256 << 10, 8000)
_CPU_RATIO = 4.0

_CELL = str(uuid.UUID(int=1))
_NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


class Host:
    """A compute host.

    :ivar state: Nova's HostState
    :ivar used: of ROOM, what flavors take
    :ivar instances: {image: number of instances}
    :ivar reported: the same, as nova-compute has last reported it
    :ivar builds: number of instances that are being built
    :ivar changed: whether it has; the scheduler then looks, and sets it back
    """

    def __init__(self, number):
        name = f'host-{number:04}'
        self.state = host_manager.HostState(name, name, _CELL)
        self.used = [0, 0, 0]
        self.instances = {}
        self.reported = {}
        self.number = 0
        self.builds = 0
        self.changed = True
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

    def take(self, flavor, number):
        """Have a number of instances of a flavor more, or less."""
        self.number += number
        self.used = [used + number * wanted for used, wanted in zip(
            self.used, placementload.FLAVORS[flavor])]
        self.changed = True

    def has_room(self):
        """Return for each flavor whether Placement would offer the host."""
        return [all(used + wanted <= room for used, wanted, room in zip(
            self.used, flavor, ROOM)) for flavor in placementload.FLAVORS]

    def refresh(self):
        """Have Nova read what the host reports, as for each request."""
        vcpus, ram, disk = self.used
        self._node.vcpus_used = vcpus
        self._node.free_ram_mb = ROOM[1] - ram
        self._node.free_disk_gb = ROOM[2] - disk
        self._node.stats = {
            'num_instances': str(self.number),
            'io_workload': str(self.builds), **self.reported}
        self.changed = True
        self.state.updated = None
        self.state.update(self._node, {'host': self.state.host})

    def report(self):
        """Report the bases; what FlexMem's driver does each minute."""
        self.reported = hoststats.encode({
            (placementload.image_id(image), ''): number
            for image, number in self.instances.items()})
        self.refresh()


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
