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

"""A month of a simulated cloud, from its first instance on.

doc/source/benchmarks.rst tells what is simulated.
"""

import dataclasses
import heapq
import itertools

from nova_flexmem.bench import placementcloud
from nova_flexmem.bench import placementload
from nova_flexmem.bench import placementscheduler

#: An instance takes so long to build, with and without the base's build.
_BUILD_S = 20
_BASE_BUILD_S = 140

#: Hosts report each minute ([DEFAULT] update_resources_interval).
_REPORT_S = 60

#: The scheduler looks for new instances so far back (scheduler.recent).
_WINDOW_S = 600

#: Hosts remove bases that were unused for so long ([flexmem]
#: remove_unused_base_minimum_age_s).
_KEEP_S = 86400

_SAMPLE_S = 6 * 3600


@dataclasses.dataclass
class Sample:
    """The cloud at one time.

    :ivar at_s: seconds since the month began
    :ivar bases: bases in use, on each host
    :ivar largest: load of the fullest host, a share of its memory
    """

    at_s: float
    instances: int
    bases: int
    mean: float
    largest: float


@dataclasses.dataclass
class Outcome:
    """What came of a month.

    :ivar samples: of the month alone
    :ivar built: number of times that a host needed a base which it had not
    :ivar images: images of which any host ever needed a base
    :ivar refused: instances for which no host had room
    :ivar weighing_s: processor time of all weighers for an instance, of those
        that Nova's own loop placed as well
    :ivar own_s: the same of the FlexMem weigher alone, for each instance
    """

    samples: list[Sample] = dataclasses.field(default_factory=list)
    built: int = 0
    images: set[int] = dataclasses.field(default_factory=set)
    refused: int = 0
    weighing_s: list[float] = dataclasses.field(default_factory=list)
    own_s: list[float] = dataclasses.field(default_factory=list)


class Month:
    """A cloud, from its first instance to the end of the month."""

    def __init__(self, options, with_weigher):
        self._options = options
        self._hosts = [placementcloud.Host(number)
                       for number in range(options.hosts)]
        self._recent = placementcloud.Recent(_WINDOW_S)
        self._scheduler = placementscheduler.Scheduler(
            self._hosts, self._recent if with_weigher else None)
        #: {host: {image: when its base was last used}}
        self._unused: dict[placementcloud.Host, dict[int, float]] = {
            host: {} for host in self._hosts}
        self._events: list = []
        self._number = itertools.count()
        self._outcome = Outcome(weighing_s=self._scheduler.weighing_s,
                                own_s=self._scheduler.own_s)

    def run(self, progress):
        """Simulate; returns the Outcome.

        :param progress: called with the part that is done
        """
        options = self._options
        for at_s in range(0, options.days * placementload.DAY_S + 1,
                          _SAMPLE_S):
            self._at(at_s, self._sample)
        begin = -placementload.FILL_DAYS * placementload.DAY_S
        length = options.days * placementload.DAY_S - begin
        for request in placementload.requests(options):
            self._run_until(request.at_s)
            self._place(request)
            progress((request.at_s - begin) / length)
        self._run_until(options.days * placementload.DAY_S)
        return self._outcome

    def _at(self, at_s, what, *args):
        heapq.heappush(self._events, (at_s, next(self._number), what, args))

    def _run_until(self, at_s):
        while self._events and self._events[0][0] <= at_s:
            self._recent.now_s, _number, what, args = heapq.heappop(
                self._events)
            what(*args)
        self._recent.now_s = at_s

    def _place(self, request):
        placed = self._scheduler.place(request)
        self._outcome.refused += len(request.ends_s) - len(placed)
        for (host, instance_uuid), end_s in zip(placed, request.ends_s):
            build_s = _BUILD_S
            if not self._has_base(host, request.image):
                build_s = _BASE_BUILD_S
                self._outcome.built += 1
                self._outcome.images.add(request.image)
            host.builds += 1
            host.instances[request.image] = host.instances.get(
                request.image, 0) + 1
            self._recent.note(request.image, host)
            host.refresh()
            at_s = request.at_s + build_s
            self._at(at_s, self._finish, host, request.image)
            self._at(max(at_s, end_s), self._delete, host, request,
                     instance_uuid)

    def _has_base(self, host, image):
        if image in host.instances:
            return True
        unused_s = self._unused[host].pop(image, None)
        return (unused_s is not None and
                self._recent.now_s - unused_s < _KEEP_S)

    def _finish(self, host, image):
        """Have a host finish the build of an instance."""
        host.builds -= 1
        host.refresh()
        self._recent.note(image, host)
        self._report(host)

    def _delete(self, host, request, instance_uuid):
        host.take(request.flavor, -1)
        host.instances[request.image] -= 1
        if not host.instances[request.image]:
            del host.instances[request.image]
            self._unused[host][request.image] = self._recent.now_s
        host.state.instances.pop(instance_uuid, None)
        host.refresh()
        self._report(host)

    def _report(self, host):
        self._at((self._recent.now_s // _REPORT_S + 1) * _REPORT_S,
                 host.report)

    def _sample(self):
        loads = [host.load for host in self._hosts]
        self._outcome.samples.append(Sample(
            self._recent.now_s, sum(host.number for host in self._hosts),
            sum(len(host.instances) for host in self._hosts),
            sum(loads) / len(loads), max(loads)))
