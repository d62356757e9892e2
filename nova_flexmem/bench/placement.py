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

"""A month of a simulated cloud, with and without the FlexMem weigher.

Both clouds get the same requests. doc/source/benchmarks.rst tells what is
simulated, and what each figure means.
"""

import dataclasses
import heapq
import itertools
import os
import platform
import time

import nova.conf
from nova import objects
from nova import version

from nova_flexmem.bench import placementcloud
from nova_flexmem.bench import placementload
from nova_flexmem.bench import results
from nova_flexmem import conf as flexmem_conf

CONF = nova.conf.CONF

#: Nova's own weighers, and those with the FlexMem weigher.
KINDS = ('stock', 'flexmem')

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

#: Of the times of each instance that are kept in results.
_MOST_TIMES = 1000


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
    :ivar weighing_s: for each instance, processor time of all weighers
    :ivar own_s: the same of the FlexMem weigher alone
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
        self._scheduler = placementcloud.Scheduler(
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


def prepare(multiplier=None, margin=None):
    """Have Nova's code work in this process, with Nova's default options.

    :param multiplier: [flexmem] base_weight_multiplier; None: the default
    :param margin: [flexmem] base_weight_margin; None: the default
    """
    CONF([], project='nova', default_config_files=[])
    objects.register_all()
    flexmem_conf.register_scheduler_opts(CONF)
    for name, value in (('base_weight_multiplier', multiplier),
                        ('base_weight_margin', margin)):
        if value is not None:
            CONF.set_override(name, value, 'flexmem')


def run(model, options, progress):
    """Simulate the same month with each of KINDS.

    :param model: the placementmodel.Model
    :param progress: called with a text as each begins, and with the part of
        it that is done
    :returns: results.Results
    """
    return gather({
        kind: Month(options, kind != 'stock').run(
            lambda part, kind=kind: progress(
                f'{kind}: a month of {options.instances} instances', part))
        for kind in KINDS}, model, options)


def gather(outcomes, model, options):
    """Return the results.Results of several clouds.

    :param outcomes: {kind: Outcome}
    :param model: the placementmodel.Model
    """
    saved = _figure('memory saved, mean of the month', 'GiB', outcomes, lambda
                    one: [_mean(model.saved_mib(each.instances, each.bases)
                                for each in one.samples) / 1024])
    # without a gain there is nothing to compare with
    saved = dataclasses.replace(saved, compared=all(
        values[0] > 0 for values in saved.samples.values()))
    figures = [
        saved,
        _figure('instances, mean', '', outcomes, lambda one: [
            _mean(each.instances for each in one.samples)]),
        _figure('of them beyond the first of a base on a host', '', outcomes,
                lambda one: [_mean(each.instances - each.bases
                                   for each in one.samples)]),
        _figure('bases in use on all hosts, mean', '', outcomes, lambda one: [
            _mean(each.bases for each in one.samples)]),
        _figure('largest load of a host / mean load, mean', '%', outcomes,
                lambda one: [_mean(_spread(one))]),
        _figure('largest load of a host / mean load, worst', '%', outcomes,
                lambda one: [max(_spread(one))]),
        _figure('builds of bases, each host for itself', '', outcomes,
                lambda one: [one.built]),
        _figure('builds of bases, published', '', outcomes,
                lambda one: [len(one.images)]),
        _figure('bases taken that others published', '', outcomes,
                lambda one: [one.built - len(one.images)]),
        _figure('instances for which no host had room', '', outcomes,
                lambda one: [one.refused]),
        _figure('weighers, processor time for one instance', 'ms', outcomes,
                lambda one: _times(one.weighing_s)),
        _figure('of it the FlexMem weigher', 'ms', outcomes,
                lambda one: _times(one.own_s))]
    return results.Results(
        'placement', _environment(),
        {**dataclasses.asdict(options),
         'base_weight_multiplier': CONF.flexmem.base_weight_multiplier,
         'base_weight_margin': CONF.flexmem.base_weight_margin,
         'an instance saves, MiB': round(model.instance_mib, 1),
         'a base takes, MiB': round(model.base_mib, 1)},
        figures,
        {'month': [{'kind': kind, **dataclasses.asdict(each),
                    'saved_mib': model.saved_mib(each.instances, each.bases)}
                   for kind, one in outcomes.items()
                   for each in one.samples]})


def _figure(name, unit, outcomes, values):
    return results.Figure(name, unit, {
        kind: found for kind, one in outcomes.items()
        if (found := values(one))})


def _spread(outcome):
    return [100 * each.largest / each.mean for each in outcome.samples
            if each.mean]


def _times(seconds):
    step = len(seconds) // _MOST_TIMES + 1
    return [each * 1000 for each in seconds[::step]]


def _mean(values):
    values = list(values)
    return sum(values) / len(values)


def _environment():
    return {'date': time.strftime('%Y-%m-%d %H:%M %Z'),
            'Nova': version.version_string(),
            'Python': platform.python_version(),
            'processors': str(os.cpu_count()),
            'load when it ended': f'{os.getloadavg()[0]:.1f}'}
