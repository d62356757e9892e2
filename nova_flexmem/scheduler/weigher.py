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

"""The weigher that places instances of one base on the same hosts.

Each instance after the first on a host saves the memory of the pages that it
shares. So a host that runs any instance of the base weighs half of what a host
can weigh, and more of them add little: by the logarithm of their number, up to
_MOST.

No host is filled first: the weight goes down with the load of the host above
the mean, to nothing at [flexmem] base_weight_margin. Below it, the weight has
to outdo what Nova takes from a host that builds an instance, which is all of
[filter_scheduler] io_ops_weight_multiplier: for a base that is built already,
that instance would be little work.
"""

import math

import nova.conf
from nova.scheduler import utils
from nova.scheduler import weights

from nova_flexmem import conf as flexmem_conf
from nova_flexmem.scheduler import recent
from nova_flexmem.scheduler import request
from nova_flexmem.virt import hoststats

CONF = nova.conf.CONF

#: Weight of a host that has the base, but runs no instance of it: it saves a
#: build, and no memory.
_HAS_BASE = 0.1

#: Weight of a host that runs one.
_RUNS_ONE = 0.5

#: Number of instances at which the weight is 1.
_MOST = 16

_WEIGHTS = [_RUNS_ONE + (1 - _RUNS_ONE) * math.log2(number) / math.log2(_MOST)
            for number in range(1, _MOST + 1)]

#: Attribute of a HostState: a request, and the number of the host's instances
#: when it was first weighed.
_BEFORE = 'flexmem_before'


class SameBaseWeigher(weights.BaseHostWeigher):
    """Prefers hosts that run instances of the base that a request needs."""

    # Nova would stretch the weights over all from 0 to 1 else, and one
    # instance would count as much as sixteen.
    minval = 0.0
    maxval = 1.0

    def __init__(self, recent_instances=None):
        """Read no option yet.

        :param recent_instances: what to ask in place of a recent.Recent
        """
        super().__init__()
        flexmem_conf.register_scheduler_opts(CONF)
        self._recent = recent_instances or recent.Recent()

    def weight_multiplier(self, host_state):
        """Return the multiplier of a host, by its aggregates or the option."""
        return utils.get_weight_multiplier(
            host_state, 'flexmem_base_weight_multiplier',
            CONF.flexmem.base_weight_multiplier)

    def weigh_objects(self, weighed_obj_list, weight_properties):
        """Return the weights of hosts, in order.

        :param weighed_obj_list: objects with a HostState as ``obj``
        :param weight_properties: the RequestSpec
        """
        hosts = [weighed.obj for weighed in weighed_obj_list]
        spec = weight_properties
        members = _members(spec, hosts)
        image_id = request.base_image(spec)
        if image_id is None or (
                members and spec.instance_group.policy == 'soft-affinity'):
            return [0.0] * len(hosts)
        numbers = self._numbers(hosts, spec, image_id)
        # members of a group that shall be apart are not pulled together
        return [0.0 if host in members else _weight(number) * room
                for host, number, room in zip(hosts, numbers, _rooms(hosts))]

    def _weigh_object(self, host_state, weight_properties):
        raise NotImplementedError()  # weigh_objects() weighs all at once

    def _numbers(self, hosts, spec, image_id):
        """Return the instances of a base on hosts, None where it is not."""
        new = self._recent.instances(
            spec, {host.cell_uuid for host in hosts})
        count = hoststats.counter(image_id, spec.project_id)
        # new hosts have no statistics yet
        numbers = [count(getattr(host, 'stats', {})) for host in hosts]
        if new:
            numbers = [max(number or 0, new[host.host])
                       if host.host in new else number
                       for host, number in zip(hosts, numbers)]
        if spec.num_instances > 1:
            numbers = [(number or 0) + placed if placed else number
                       for number, placed in zip(
                           numbers, [_placed(host, spec) for host in hosts])]
        return numbers


def _weight(number):
    if number is None:
        return 0.0
    if number == 0:
        return _HAS_BASE
    return _WEIGHTS[min(number, _MOST) - 1]


def _rooms(hosts):
    """Return what part of its weight each host keeps for its load."""
    loads = [_load(host) for host in hosts]
    margin = CONF.flexmem.base_weight_margin
    limit = sum(loads) / len(loads) + margin
    return [min(max((limit - load) / margin, 0.0), 1.0) for load in loads]


def _load(host):
    """Return the share of a host's memory or processors that is taken."""
    ram = host.total_usable_ram_mb * (host.ram_allocation_ratio or 1)
    vcpus = host.vcpus_total * (host.cpu_allocation_ratio or 1)
    return max((host.total_usable_ram_mb - host.free_ram_mb) / ram
               if ram else 0.0,
               host.vcpus_used / vcpus if vcpus else 0.0)


def _placed(host, spec):
    """Return the instances of a request that were placed on a host already.

    Nova weighs the same HostStates for each instance of a request.
    """
    request_before, before = getattr(host, _BEFORE, (None, 0))
    if request_before is not spec:
        setattr(host, _BEFORE, (spec, host.num_instances))
        return 0
    return host.num_instances - before


def _members(spec, hosts):
    """Return the hosts that run members of the request's server group."""
    group = spec.instance_group
    if group is None or not group.members:
        return frozenset()
    members = set(group.members)
    return {host for host in hosts if not members.isdisjoint(host.instances)}
