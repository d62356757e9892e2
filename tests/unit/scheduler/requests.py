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

"""Host states and requests, as Nova's scheduler has them."""

import datetime

from nova import objects
from nova.scheduler import host_manager

CELL = '00000000-0000-0000-0000-00000000ce11'
IMAGE = '155d900f-4e14-4e4c-a73d-069cbf4541e6'
SNAPSHOT = 'c905cedb-7281-47e4-8a62-f26bc5fc4c77'
INSTANCE = '6f7d3b44-1c47-4c0c-9e43-0f9f2a6d6c11'

NOW = datetime.datetime(2026, 11, 28, tzinfo=datetime.timezone.utc)

#: Seven eighths of each are free, so that Nova's own weighers have a say.
_COMPUTE = {
    'uuid': '5a0d8a63-30f4-4c25-8a2b-1f4f6a7a9c01',
    'memory_mb': 524288, 'free_ram_mb': 458752, 'vcpus': 256,
    'vcpus_used': 128,
    'local_gb': 800, 'free_disk_gb': 700, 'local_gb_used': 100,
    'disk_available_least': None, 'numa_topology': None,
    'pci_device_pools': None, 'host_ip': '192.0.2.1', 'metrics': None,
    'hypervisor_type': 'QEMU', 'hypervisor_version': 7002000,
    'cpu_info': '', 'supported_hv_specs': [], 'cpu_allocation_ratio': 4.0,
    'ram_allocation_ratio': 1.0, 'disk_allocation_ratio': 1.0}


def host(name, stats=None, instances=(), aggregates=(), **fields):
    """Return a HostState.

    :param stats: of the ComputeNode
    :param instances: uuids
    :param aggregates: metadata of each, dicts
    :param fields: of the ComputeNode
    """
    state = host_manager.HostState(name, name, CELL)
    state.update(
        objects.ComputeNode(
            hypervisor_hostname=name, updated_at=NOW, stats=stats or {},
            **_COMPUTE | fields),
        {'host': name, 'disabled': False},
        [objects.Aggregate(metadata=each) for each in aggregates],
        {uuid: objects.Instance(uuid=uuid) for uuid in instances})
    return state


def spec(image=IMAGE, traits=(), policy=None, group=None, number=1, **fields):
    """Return a RequestSpec.

    :param image: id of the image; None: there is no image
    :param traits: those that the image requires
    :param policy: flexmem:policy of the flavor
    :param group: (policy, uuids of its members)
    :param number: of instances
    """
    image_meta = None
    if image:
        image_meta = objects.ImageMeta.from_dict({
            'id': image, 'properties': {f'trait:{trait}': 'required'
                                        for trait in traits}})
    flavor = objects.Flavor(
        memory_mb=2048, vcpus=1, root_gb=10, ephemeral_gb=0,
        extra_specs={'flexmem:policy': policy} if policy else {})
    return objects.RequestSpec(**{
        'image': image_meta, 'flavor': flavor, 'num_instances': number,
        'project_id': 'a-project', 'instance_uuid': INSTANCE,
        'is_bfv': False, 'pci_requests': None, 'numa_topology': None,
        'instance_group': objects.InstanceGroup(
            policy=group[0], members=group[1], hosts=[])
        if group else None} | fields)
