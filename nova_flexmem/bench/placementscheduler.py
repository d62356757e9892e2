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
time, so the loop here is another one. It asks filters and weighers only of
hosts whose answers may have changed, and now and then compares its choice with
that of Nova's loop over all of them.
"""

import time
import uuid

import numpy

from nova import objects
from nova.scheduler import filters
from nova.scheduler import manager
from nova.scheduler import weights

from nova_flexmem.bench import placementcloud
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
        self._weighed = [weights.WeighedHost(host.state, 0.0)
                         for host in hosts]
        self._places = {host: place for place, host in enumerate(hosts)}
        # a column for each host as it is now
        self._fits = numpy.zeros((len(placementload.FLAVORS), len(hosts)),
                                 bool)
        self._weights = numpy.zeros((len(_STOCK), len(hosts)))

    def place(self, request):
        """Return [(Host, instance uuid)] for the instances of a request.

        There are fewer if no host has room for more.

        :raises: BenchFailed if Nova's loop would choose another host
        """
        uuids = [str(uuid.uuid4()) for _instance in request.ends_s]
        spec = _spec(request, uuids)
        placed: list[tuple[placementcloud.Host, str]] = []
        for instance_uuid in uuids:
            spec.instance_uuid = instance_uuid
            host = self._best(spec, request.flavor, {
                self._places[host] for host, _uuid in placed})
            self._number += 1
            if self._number % self._compared == 0:
                self._compare(host, spec, request.flavor)
            if host is None:
                break
            host.take(request.flavor, 1)
            manager.SchedulerManager._consume_selected_host(
                host.state, spec, instance_uuid)
            placed.append((host, instance_uuid))
        return placed

    def _load(self, names):
        return [each() for each in self._handler.get_matching_classes(
            [f'nova.scheduler.weights.{name}' for name in names])]

    def _best(self, spec, flavor, members):
        """Return the host that Nova would choose, or None.

        :param members: places of the hosts that have instances of the request
        """
        self._look_at_changed()
        fits = self._fits[flavor].copy()
        group = spec.instance_group and spec.instance_group.policy
        for place in members if group in self._filters else ():
            # to the filter, other hosts are without the group
            fits[place] &= bool(self._filtered(group, spec, [
                self._hosts[place].state]))
        [places] = numpy.nonzero(fits)
        if not len(places):
            return None
        columns = [*zip(self._stock, self._weights[:, places])]
        for each in self._of_group.get(group, ()):
            column = numpy.zeros(len(self._hosts))
            for place in members:
                [column[place]] = each.weigh_objects([self._weighed[place]],
                                                     spec)
            columns.append((each, column[places]))
        columns += [(each, numpy.array(each.weigh_objects(
            [self._weighed[place] for place in places], spec)))
            for each in self._own]
        totals = numpy.zeros(len(places))
        for each, column in columns:
            # the same for all hosts, as there are no aggregates
            totals += each.weight_multiplier(
                self._hosts[0].state) * _normalized(column, each)
        return self._hosts[places[totals.argmax()]]

    def _look_at_changed(self):
        for place, host in enumerate(self._hosts):
            if host.changed:
                host.changed = False
                self._fits[:, place] = host.has_room()
                self._weights[:, place] = [
                    each.weigh_objects([self._weighed[place]], None)[0]
                    for each in self._stock]

    def _filtered(self, group, spec, states):
        return list(self._filter_handler.get_filtered_objects(
            self._filters[group], states, spec) or ())

    def _compare(self, chosen, spec, flavor):
        """Check that Nova's own loop chooses the same host."""
        states = [host.state for host in self._hosts
                  if host.has_room()[flavor]]
        group = spec.instance_group and spec.instance_group.policy
        if group in self._filters:
            states = self._filtered(group, spec, states)
        began = time.thread_time()
        weighed = self._handler.get_weighed_objects(
            self._stock + self._of_group.get(group, []) + self._own, states,
            spec)
        self.weighing_s.append(time.thread_time() - began)
        here = chosen and chosen.state.host
        there = weighed[0].obj.host if weighed else None
        if here != there:
            raise exception.BenchFailed(
                reason=f"Nova's scheduler would choose {there}, not {here};"
                ' report this as a fault')


def _normalized(column, weigher):
    """Return weights from 0 to 1, as nova.weights.normalize() does."""
    low = column.min() if weigher.minval is None else weigher.minval
    high = column.max() if weigher.maxval is None else weigher.maxval
    return 0.0 if low == high else (column - low) / (high - low)


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
