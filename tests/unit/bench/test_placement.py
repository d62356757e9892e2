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

"""The benchmark of placement, on a small cloud."""

import os

import fixtures
import testtools

import nova.conf
from nova.scheduler import weights
from nova import test

from nova_flexmem.bench import placement
from nova_flexmem.bench import placementcloud
from nova_flexmem.bench import placementload
from nova_flexmem.bench import placementmodel
from nova_flexmem.bench import placementmonth
from nova_flexmem.bench import placementscheduler
from nova_flexmem.bench import report
from nova_flexmem.bench import results
from nova_flexmem import conf as flexmem_conf
from nova_flexmem import exception

CONF = nova.conf.CONF

_SMALL = placementload.Options(hosts=8, instances=240, days=3, images=12)
_MODEL = placementmodel.Model(100.0, 200.0)

_SLOPE = ("guest RAM and QEMU's own, no translated code, per further VM"
          ' (slope)')


def _density(samples, rows):
    return results.Results('density', {}, {}, [
        results.Figure(_SLOPE, 'MiB', samples)], {'memory': rows})


def _row(kind, guests, mapped_mib, ksm='off'):
    return {'kind': kind, 'guests': guests, 'ksm': ksm,
            'base_mapped': mapped_mib << 20}


class ModelTest(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path

    def read(self, found):
        results.write(found, self.folder)
        return placementmodel.read(self.folder)

    def test_results_of_density(self):
        model = self.read(_density(
            {'stock': [250.0], 'flexmem': [130.0]},
            [_row('flexmem', 1, 100), _row('flexmem', 6, 240),
             _row('flexmem', 16, 999, 'always'), _row('stock', 16, 0)]))
        self.assertEqual(placementmodel.Model(120.0, 240.0), model)
        self.assertEqual(1200 - 480, model.saved_mib(10, 2))

    def test_results_that_do_not_tell(self):
        for found in (
                _density({'stock': [250.0]}, [_row('flexmem', 1, 100)]),
                _density({'stock': [2.0], 'flexmem': [1.0]}, []),
                results.Results('density', {}, {}, []),
                results.Results('boot', {}, {}, [])):
            self.assertIn('bench density', str(self.assertRaises(
                exception.BenchFailed, self.read, found)))
        self.assertRaises(exception.BenchFailed, placementmodel.read,
                          os.path.join(self.folder, 'nothing'))


class LoadTest(test.NoDBTestCase):

    def test_the_same_seed_gives_the_same_requests(self):
        first = list(placementload.requests(_SMALL))
        self.assertEqual(first, list(placementload.requests(_SMALL)))
        other = placementload.Options(hosts=8, instances=240, days=3,
                                      images=12, seed=2)
        self.assertNotEqual(first, list(placementload.requests(other)))

    def test_popularity_and_number(self):
        options = placementload.Options(instances=20000, days=30, images=50)
        requests = list(placementload.requests(options))
        self.assertEqual(sorted(requests, key=lambda each: each.at_s),
                         requests)
        of_image = [sum(each.image == image for each in requests)
                    for image in (0, 9, 49)]
        for number, place in zip(of_image[1:], (10, 50)):
            self.assertLess(.5, number * place / of_image[0])
            self.assertGreater(2, number * place / of_image[0])
        for day in (0, 15, 30):
            at_s = day * placementload.DAY_S
            alive = sum(each.at_s <= at_s < end_s for each in requests
                        for end_s in each.ends_s)
            self.assertAlmostEqual(1, alive / 20000, delta=.05)


class MonthTest(test.NoDBTestCase):

    def run_month(self, with_weigher, options=_SMALL):
        parts = []
        outcome = placementmonth.Month(options, with_weigher).run(
            parts.append)
        self.assertEqual(sorted(parts), parts)
        self.assertAlmostEqual(1, parts[-1], delta=.1)
        return outcome

    def test_the_weigher_saves_memory_and_spreads_load(self):
        outcomes = {'stock': self.run_month(False),
                    'flexmem': self.run_month(True)}
        found = {each.name: each for each in placement.gather(
            outcomes, _MODEL, _SMALL).figures}
        saved = found['memory saved, mean of the month']
        self.assertLess(max(0, 1.5 * saved.median('stock')),
                        saved.median('flexmem'))
        self.assertGreater(1.2, found[
            'largest load of a host / mean load, mean'].ratio(
                'flexmem', 'stock'))
        # there are server groups with more members than hosts
        self.assertEqual(outcomes['stock'].refused,
                         outcomes['flexmem'].refused)
        for outcome in outcomes.values():
            self.assertEqual(13, len(outcome.samples))
            self.assertEqual(0, outcome.samples[0].at_s)
        builds = found['builds of bases, each host for itself']
        self.assertGreater(1, builds.ratio('flexmem', 'stock'))
        published = found['builds of bases, published']
        self.assertGreaterEqual(12, published.median('stock'))

    def test_a_full_cloud_refuses(self):
        options = placementload.Options(hosts=1, instances=100, days=1)
        outcome = self.run_month(True, options)
        self.assertLess(0, outcome.refused)
        self.assertGreaterEqual(1, max(each.largest
                                       for each in outcome.samples))

    def test_all_of_novas_weighers_choose_the_same(self):
        hosts = [placementcloud.Host(number) for number in range(8)]
        scheduler = placementscheduler.Scheduler(
            hosts, placementcloud.Recent(600), compared=1)
        handler = weights.HostWeightHandler()
        every = [each() for each in handler.get_all_classes()]
        weigh = scheduler._handler.get_weighed_objects
        scheduler._handler.get_weighed_objects = (
            lambda weighers, *args: weigh([*every, weighers[-1]], *args))
        placed = 0
        groups = set()
        for request in list(placementload.requests(_SMALL))[:40]:
            groups.add(request.group)
            for host, _uuid in scheduler.place(request):
                host.refresh()
                placed += 1
        self.assertLess(40, placed)
        self.assertLessEqual(placed, len(scheduler.weighing_s))
        self.assertEqual({None, 'anti-affinity', 'soft-anti-affinity'},
                         groups)

    def test_another_choice_than_novas_is_found(self):
        hosts = [placementcloud.Host(number) for number in range(8)]
        scheduler = placementscheduler.Scheduler(hosts, None, compared=1)
        [request, *_others] = placementload.requests(_SMALL)
        scheduler.place(request)
        for host in hosts[3:7]:  # as if it had not been looked at again
            host.take(0, 1)
            host.state.free_ram_mb = 0
            host.changed = False
        e = self.assertRaises(exception.BenchFailed, scheduler.place, request)
        self.assertIn('host-0003', str(e))


class ResultsTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        flexmem_conf.register_scheduler_opts(CONF)

    def test_no_gain_is_no_ratio(self):
        outcome = placementmonth.Outcome(
            [placementmonth.Sample(0.0, 10, 9, .5, .6)], own_s=[.001])
        [saved, *_others] = placement.gather(
            {'stock': outcome, 'flexmem': outcome}, _MODEL, _SMALL).figures
        self.assertGreater(0, saved.median('stock'))
        self.assertIsNone(saved.ratio('flexmem', 'stock'))

    def test_report(self):
        folder = self.useFixture(fixtures.TempDir()).path
        one = placementmonth.Outcome(
            [placementmonth.Sample(at_s, 10, 3, .5, .6)
             for at_s in (0.0, 9.0)],
            own_s=[.001])
        report.write(placement.gather({'stock': one, 'flexmem': one}, _MODEL,
                                      _SMALL), folder)
        self.assertEqual(
            ['bases.png', 'report.html', 'results.json', 'saved.png',
             'spread.png'], sorted(os.listdir(folder)))
        self.assertIn('an instance saves, MiB',
                      open(os.path.join(folder, 'report.html')).read())
