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

Both clouds get the same requests. doc/source/benchmarks.rst tells what each
figure means.
"""

import dataclasses
import os
import platform
import time

import nova.conf
from nova import objects
from nova import version

from nova_flexmem.bench import placementmonth
from nova_flexmem.bench import results
from nova_flexmem import conf as flexmem_conf

CONF = nova.conf.CONF

#: Nova's own weighers, and those with the FlexMem weigher.
KINDS = ('stock', 'flexmem')

#: Of the times of each instance that are kept in results.
_MOST_TIMES = 1000


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
        kind: placementmonth.Month(options, kind != 'stock').run(
            lambda part, kind=kind: progress(
                f'{kind}: a month of {options.instances} instances', part))
        for kind in KINDS}, model, options)


def gather(outcomes, model, options):
    """Return the results.Results of several clouds.

    :param outcomes: {kind: placementmonth.Outcome}
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
