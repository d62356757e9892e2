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

"""Nova's scheduler, on the hosts of a simulated cloud.

Nova's own filters and weighers choose the hosts. Nova's loop over the weighers
writes texts for its log for each host and weigher, which take most of its
time, so the loop here is another one. It gives Nova's weighers the hosts that
have changed, and now and then compares its choice with that of Nova's loop.
"""

import time
import uuid

from nova import objects
from nova.scheduler import filters
from nova.scheduler import manager
from nova.scheduler import weights
from nova import weights as nova_weights

from nova_flexmem.bench import placementload
from nova_flexmem import exception
from nova_flexmem.scheduler import weigher

#: Those of Nova's weighers that can tell the hosts of this cloud apart, and
#: what can tell them apart for a request with a server group of a policy. To
#: the others all hosts are the same.
_STOCK = ('cpu.CPUWeigher', 'ram.RAMWeigher', 'disk.DiskWeigher',
          'io_ops.IoOpsWeigher')
_FILTERS = {'anti-affinity': ['ServerGroupAntiAffinityFilter']}
_WEIGHERS = {'soft-anti-affinity': [
    'affinity.ServerGroupSoftAntiAffinityWeigher']}

#: Each such instance is placed by Nova's loop as well.
_COMPARED = 100


class Scheduler:
    """Nova's scheduler on simulated hosts.

    :param recent: answers what recent.Recent does; None: Nova's own weighers
        alone
    :param compared: each such instance is placed by Nova's loop as well
    :ivar weighing_s: for each of these, processor time of all weighers in
        Nova's loop
    :ivar own_s: for each instance, processor time of the FlexMem weigher
    """

    def __init__(self, hosts, recent, compared=_COMPARED):
        self._hosts = hosts
        self._compared = compared
        self._number = 0
        self._filter_handler = filters.HostFilterHandler()
        by_name = {each.__name__: each for each in
                   self._filter_handler.get_all_classes()}
        self._filters = {policy: [by_name[name]() for name in names]
                         for policy, names in _FILTERS.items()}
        self._handler = weights.HostWeightHandler()
        self._stock = self._load(_STOCK)
        self._of_group = {policy: self._load(names)
                          for policy, names in _WEIGHERS.items()}
        self._own = []
        self.weighing_s: list[float] = []
        self.own_s: list[float] = []
        if recent is not None:
            self._own = [_timed(weigher.SameBaseWeigher(recent), self.own_s)]
        self._by_state = {host.state: host for host in hosts}

    def place(self, request):
        """Return [(Host, instance uuid)] for the instances of a request.

        There are fewer if no host has room for more.

        :raises: BenchFailed if Nova's loop would choose another host
        """
        uuids = [str(uuid.uuid4()) for _instance in request.ends_s]
        spec = _spec(request, uuids)
        placed = []
        for instance_uuid in uuids:
            spec.instance_uuid = instance_uuid
            host = self._choose(spec, [host for host in self._hosts
                                       if host.has_room[request.flavor]])
            if host is None:
                break
            host.take(request.flavor, 1)
            manager.SchedulerManager._consume_selected_host(
                host.state, spec, instance_uuid)
            host.weights = None
            placed.append((host, instance_uuid))
        return placed

    def _load(self, names):
        return [each() for each in self._handler.get_matching_classes(
            [f'nova.scheduler.weights.{name}' for name in names])]

    def _choose(self, spec, hosts):
        group = spec.instance_group and spec.instance_group.policy
        if group in self._filters:
            hosts = [self._by_state[state] for state in
                     self._filter_handler.get_filtered_objects(
                         self._filters[group], [host.state for host in hosts],
                         spec) or ()]
        asked = self._of_group.get(group, []) + self._own
        if not hosts:
            return None
        chosen = self._best(asked, spec, hosts)
        self._number += 1
        if self._number % self._compared == 0:
            self._compare(chosen, asked, spec, hosts)
        return chosen

    def _best(self, asked, spec, hosts):
        """Return the host that Nova's loop would choose.

        :param asked: weighers whose weights depend on the request
        """
        columns = [(each, each.weigh_objects(
            [weights.WeighedHost(host.state, 0.0) for host in hosts], spec))
            for each in asked]
        rows = [host.weights or self._weigh(host) for host in hosts]
        totals = [0.0] * len(hosts)
        for each, column in [*zip(self._stock, zip(*rows)), *columns]:
            # the same for all hosts, as there are no aggregates
            multiplier = each.weight_multiplier(hosts[0].state)
            totals = [total + multiplier * weight for total, weight in zip(
                totals, nova_weights.normalize(
                    column, minval=each.minval, maxval=each.maxval))]
        return hosts[totals.index(max(totals))]

    def _weigh(self, host):
        """Have Nova's own weighers weigh a host as it is now."""
        weighed = [weights.WeighedHost(host.state, 0.0)]
        host.weights = [each.weigh_objects(weighed, None)[0]
                        for each in self._stock]
        return host.weights

    def _compare(self, chosen, asked, spec, hosts):
        began = time.thread_time()
        weighed = self._handler.get_weighed_objects(
            self._stock + asked, [host.state for host in hosts], spec)
        self.weighing_s.append(time.thread_time() - began)
        first = weighed[0].obj
        if first is not chosen.state:
            raise exception.BenchFailed(
                reason=f"Nova's scheduler would choose {first.host}, not"
                f' {chosen.state.host}; report this as a fault')


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
