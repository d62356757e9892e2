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

"""The weigher, among all of Nova's own."""

import collections
import time

from nova.scheduler import weights
from nova import test

from tests.unit.scheduler import requests
from tests.unit import without_packages

_PATH = 'nova_flexmem.scheduler.weigher.SameBaseWeigher'

#: What nova-scheduler does at its start, and for a request.
_LOAD = '''
from nova import objects
from nova.scheduler import weights
objects.register_all()
handler = weights.HostWeightHandler()
classes = handler.get_matching_classes(
    ['nova.scheduler.weights.all_weighers',
     'nova_flexmem.scheduler.weigher.SameBaseWeigher'])
print(classes[-1]().__class__.__name__)
'''


def runs(number, image=requests.IMAGE):
    """Return the statistics of a host that runs instances of an image."""
    return {f'flexmem_base:{image}': str(number)}


class WeigherTestCase(test.NoDBTestCase):
    """All of Nova's weighers, and ours."""

    def setUp(self):
        super().setUp()
        self.new = collections.Counter()
        self.asked = []
        self.stub_out('nova_flexmem.scheduler.recent.Recent.instances',
                      self.recent)
        self.handler = weights.HostWeightHandler()
        self.weighers = [each() for each in self.handler.get_matching_classes(
            ['nova.scheduler.weights.all_weighers', _PATH])]

    def recent(self, _recent, spec, cell_uuids):
        self.asked.append((spec.image.id, cell_uuids))
        return self.new

    def weigh(self, spec, *hosts):
        """Return the weights that the weigher alone gives to hosts."""
        return self.weighers[-1].weigh_objects(
            [weights.WeighedHost(host, 0.0) for host in hosts], spec)

    def best(self, spec, hosts):
        """Return the host that Nova takes."""
        return self.handler.get_weighed_objects(
            self.weighers, hosts, spec)[0].obj

    def multiply_by(self, number):
        self.flags(base_weight_multiplier=number, group='flexmem')


class WeightsTest(WeigherTestCase):

    def test_more_instances_weigh_more_up_to_a_limit(self):
        numbers = (0, 1, 2, 4, 8, 16, 17, 1000)
        given = self.weigh(requests.spec(), requests.host('without'), *(
            requests.host(f'host-{number}', runs(number))
            for number in numbers))
        self.assertEqual([0, .1, .5, .625, .75, .875, 1, 1, 1], given)

    def test_nova_scales_them_no_further(self):
        self.multiply_by(8.0)
        few, none = requests.host('few', runs(1)), requests.host('none')
        first, second = self.handler.get_weighed_objects(
            self.weighers, [none, few], requests.spec())
        self.assertIs(few, first.obj)
        self.assertEqual(4.0, first.weight - second.weight)

    def test_the_same_base_decides_between_equal_hosts(self):
        hosts = [requests.host('a'), requests.host('b', runs(2)),
                 requests.host('c', runs(0))]
        self.assertEqual('b', self.best(requests.spec(), hosts).host)

    def test_no_host_is_filled_first(self):
        full = requests.host('full', runs(16), free_ram_mb=32768)
        busy = requests.host('busy', runs(16), vcpus_used=960)
        hosts = [full, busy, requests.host('empty'),
                 requests.host('one', runs(1))]
        self.assertEqual([0, 0, 0, .5], self.weigh(requests.spec(), *hosts))
        self.assertEqual('one', self.best(requests.spec(), hosts).host)
        self.assertEqual('empty', self.best(requests.spec(), hosts[:3]).host)

    def test_the_weight_goes_down_with_the_load(self):
        # 5/8 of the memory is taken, on the other 1/8
        hosts = [requests.host('more', runs(16), free_ram_mb=196608),
                 requests.host('less')]
        for margin, weight in ((.1, 0), (.25, 0), (.5, .5), (1, .75)):
            self.flags(base_weight_margin=margin, group='flexmem')
            self.assertEqual([weight, 0],
                             self.weigh(requests.spec(), *hosts), margin)

    def test_a_host_that_has_nothing(self):
        hosts = [requests.host('none', runs(1), memory_mb=0, free_ram_mb=0,
                               vcpus=0, vcpus_used=0),
                 requests.host('some')]
        self.assertEqual([.5, 0], self.weigh(requests.spec(), *hosts))

    def test_other_images_have_no_say(self):
        other = requests.host('other', runs(9, requests.SNAPSHOT))
        self.assertEqual([0], self.weigh(requests.spec(), other))

    def test_bases_of_a_project_count_for_it_alone(self):
        own = requests.host('own', {
            f'flexmem_base:{requests.IMAGE}:a-project': '4'})
        foreign = requests.host('foreign', {
            f'flexmem_base:{requests.IMAGE}:another': '4'})
        self.assertEqual([.75, 0],
                         self.weigh(requests.spec(), own, foreign))

    def test_what_needs_no_base_is_not_weighed(self):
        host = requests.host('host', runs(4))
        for spec in (requests.spec(image=None),
                     requests.spec(policy='disabled'),
                     requests.spec(is_bfv=True),
                     requests.spec(image='')):
            self.assertEqual([0], self.weigh(spec, host), spec)
        self.assertEqual([], self.asked)
        for policy in ('required', 'preferred', None):
            self.assertEqual([.75], self.weigh(requests.spec(policy=policy),
                                               host))

    def test_instances_that_are_not_reported_yet(self):
        self.new['new'] = 1
        self.new['known'] = 3
        self.assertEqual([.5, .75, 0], self.weigh(
            requests.spec(), requests.host('new'),
            requests.host('known', runs(4)), requests.host('without')))
        self.assertEqual([(requests.IMAGE, {requests.CELL})], self.asked)

    def test_instances_of_one_request_go_together(self):
        hosts = [requests.host(f'host-{number}') for number in range(9)]
        spec = requests.spec(number=4)
        taken = []
        for _number in range(4):
            host = self.best(spec, hosts)
            host.consume_from_request(spec)
            taken.append(host.host)
        self.assertEqual(taken[:1] * 4, taken)

    def test_a_host_that_has_reported_nothing(self):
        host = requests.host('new', free_disk_gb=None)
        self.assertFalse(hasattr(host, 'stats'))
        self.assertEqual([0], self.weigh(requests.spec(), host))

    def test_a_thousand_hosts_take_no_time(self):
        stats = {f'flexmem_base:{image}': '3' for image in range(50)}
        hosts = [requests.host(f'host-{number}', stats | runs(number % 20))
                 for number in range(1000)]
        weighed = [weights.WeighedHost(host, 0.0) for host in hosts]
        seconds = min(self.seconds(weighed) for _attempt in range(9))
        self.assertLess(seconds, .01)

    def seconds(self, weighed):
        began = time.process_time()
        self.weighers[-1].weigh_objects(weighed, requests.spec(number=2))
        return time.process_time() - began


class MultiplierTest(WeigherTestCase):

    def multiplier(self, *aggregates):
        return self.weighers[-1].weight_multiplier(
            requests.host('host', aggregates=aggregates))

    def test_the_option(self):
        self.assertEqual(3.0, self.multiplier())
        self.multiply_by(.5)
        self.assertEqual(.5, self.multiplier())

    def test_an_aggregate_overrides_it(self):
        name = 'flexmem_base_weight_multiplier'
        self.assertEqual(5.0, self.multiplier({name: '5'}))
        self.assertEqual(0.0, self.multiplier({}, {name: '0'}))
        # as with Nova's own, the least of several, and no garbage
        self.assertEqual(4.0, self.multiplier({name: '5'}, {name: '4'}))
        self.assertEqual(3.0, self.multiplier({name: 'high'}))

    def test_0_switches_it_off(self):
        self.multiply_by(0.0)
        hosts = [requests.host('more', runs(16)),
                 requests.host('free', free_ram_mb=500000)]
        self.assertEqual('free', self.best(requests.spec(), hosts).host)

    def test_below_0_instances_are_apart(self):
        self.multiply_by(-1.0)
        hosts = [requests.host('more', runs(16)), requests.host('none')]
        self.assertEqual('none', self.best(requests.spec(), hosts).host)


class ServerGroupTest(WeigherTestCase):
    """A server group has the first say."""

    members = ['b2f6a1de-57f0-4a3e-8f0a-3d1f3a4a5b01',
               'b2f6a1de-57f0-4a3e-8f0a-3d1f3a4a5b02']

    def test_soft_anti_affinity(self):
        spec = requests.spec(group=('soft-anti-affinity', self.members))
        hosts = [requests.host('member', runs(16), self.members[:1]),
                 requests.host('none')]
        self.multiply_by(8.0)
        self.assertEqual('none', self.best(spec, hosts).host)
        hosts.append(requests.host('apart', runs(1)))
        self.assertEqual('apart', self.best(spec, hosts).host)

    def test_soft_affinity(self):
        spec = requests.spec(group=('soft-affinity', self.members))
        hosts = [requests.host('more', runs(16)),
                 requests.host('member', None, self.members[:1])]
        self.multiply_by(8.0)
        self.assertEqual('member', self.best(spec, hosts).host)
        # before the first of them is there, it is as without a group
        self.assertEqual('more', self.best(
            spec, [hosts[0], requests.host('none')]).host)

    def test_groups_without_members(self):
        spec = requests.spec(group=('soft-anti-affinity', []))
        self.assertEqual([.5], self.weigh(spec, requests.host('one', runs(1))))


class HostOfTheSchedulerTest(test.NoDBTestCase):
    """nova-scheduler's host needs nothing that only nova-compute needs."""

    def test_no_extra_is_needed(self):
        done = without_packages.run(
            ('cliff', 'libvirt', 'lxml', 'matplotlib', 'numpy',
             'prometheus_client', 'tqdm', 'zstandard'), _LOAD)
        self.assertEqual((0, 'SameBaseWeigher\n'),
                         (done.returncode, done.stdout), done.stderr)
