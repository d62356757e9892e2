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

"""The weigher in Nova's own scheduler.

Nova's fixtures run its API, conductor, scheduler, databases and Placement, and
several nova-computes. Only the hypervisor below these is Nova's fake one; it
reports bases as FlexMem's driver does.
"""

import collections
import datetime
import os
import sys

import fixtures

from nova.tests.functional import integrated_helpers
from nova.virt import fake

from nova_flexmem.virt import hoststats
from nova_flexmem.virt import marks
from tests.unit.scheduler import requests

_HOSTS = ('a', 'b', 'c', 'd')

#: Of half a second each, for a server to become active on a busy machine.
_RETRIES = 600


class ReportingDriver(fake.FakeDriver):
    """A fake driver that knows of which image the base of an instance is."""

    def __init__(self, virtapi, read_only=False):
        super().__init__(virtapi, read_only)
        self._images = {}

    def spawn(self, context, instance, image_meta, *args, **kwargs):
        super().spawn(context, instance, image_meta, *args, **kwargs)
        image_id = instance.system_metadata.get(
            f'image_{marks.BASE_IMAGE}', image_meta.id)
        instance.system_metadata[marks.SYSTEM_KEY] = image_id
        self._images[instance.uuid] = image_id

    def get_available_resource(self, nodename):
        data = super().get_available_resource(nodename)
        data['stats'] = hoststats.encode(collections.Counter(
            (self._images[uuid], '') for uuid in self.instances))
        return data

    def update_provider_tree(self, provider_tree, nodename, allocations=None):
        super().update_provider_tree(provider_tree, nodename, allocations)
        provider_tree.add_traits(nodename, marks.TRAIT)


class _NoWarnings(fixtures.Fixture):
    """Takes the place of Nova's, which makes an error of any warning."""


class SchedulerTest(integrated_helpers._IntegratedTestBase):

    ADMIN_API = True
    CAST_AS_CALL = False
    microversion = 'latest'

    def setUp(self):
        self.useFixture(fixtures.MonkeyPatch(
            'nova.tests.fixtures.WarningsFixture', _NoWarnings))
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.fake.ReportingDriver', ReportingDriver))
        self.flags(group='wsgi', api_paste_config=os.path.join(
            sys.prefix, 'etc', 'nova', 'api-paste.ini'))
        self.flags(compute_driver='fake.ReportingDriver')
        self.flags(group='filter_scheduler', weight_classes=[
            'nova.scheduler.weights.all_weighers',
            'nova_flexmem.scheduler.weigher.SameBaseWeigher'])
        super().setUp()
        self.flavor = self._create_flavor(
            memory_mb=512, vcpu=1, disk=1,
            extra_spec={'flexmem:policy': 'preferred'})
        self.images = [requests.IMAGE, requests.SNAPSHOT]

    def _setup_compute_service(self):
        for host in _HOSTS:
            self._start_compute(host)
        return self.computes[_HOSTS[0]]

    def boot(self, image, number=1, group=None, host=None):
        """Boot servers in one request; returns their hosts."""
        server = {'name': 'server', 'imageRef': image, 'networks': 'none',
                  'flavorRef': self.flavor, 'min_count': number,
                  'return_reservation_id': True}
        if host:
            server['host'] = host
        body = {'server': server}
        if group:
            body['os:scheduler_hints'] = {'group': group}
        reservation = self.api.api_post('/servers', body).body[
            'reservation_id']
        servers = self.api.get_servers(search_opts={
            'reservation_id': reservation, 'all_tenants': True})
        self.assertEqual(number, len(servers))
        return [self._wait_for_state_change(
            each, 'ACTIVE', max_retries=_RETRIES)[
            'OS-EXT-SRV-ATTR:host'] for each in servers]

    def test_together(self):
        [other] = self.boot(self.images[1])
        # no host reports its instances before the periodic tasks run
        hosts = self.boot(self.images[0])
        hosts += self.boot(self.images[0])
        hosts += self.boot(self.images[0], number=3)
        self.assertEqual(hosts[:1] * 5, hosts)
        self.assertNotEqual(other, hosts[0])
        self._run_periodics()
        # what hosts report is enough, once they do
        self.useFixture(fixtures.MonkeyPatch(
            'nova_flexmem.scheduler.recent._WINDOW', datetime.timedelta()))
        for image, host in ((self.images[0], hosts[0]),
                            (self.images[1], other),
                            (self.snapshot(self.images[0]), hosts[0])):
            self.assertEqual([host], self.boot(image))

    def snapshot(self, image):
        """Add a layered snapshot to Glance; returns its id."""
        return self.glance.create(None, {
            'name': 'snapshot', 'disk_format': 'raw', 'status': 'active',
            'container_format': 'bare', 'size': 1, 'min_ram': 0,
            'min_disk': 0, 'properties': {
                marks.BASE_IMAGE: image,
                f'trait:{marks.TRAIT}': 'required'}})['id']

    def test_server_groups(self):
        self.boot(self.images[0], host='b')
        self._run_periodics()
        for policy in ('anti-affinity', 'soft-anti-affinity'):
            group = self.api.post_server_groups({
                'name': policy, 'policy': policy})['id']
            hosts = self.boot(self.images[0], number=4, group=group)
            self.assertEqual(set(_HOSTS), set(hosts), policy)

    def test_switched_off(self):
        aggregate = self.api.post_aggregate({'aggregate': {'name': 'apart'}})
        self.api.add_host_to_aggregate(aggregate['id'], 'c')
        self.api.api_post(f'/os-aggregates/{aggregate["id"]}/action', {
            'set_metadata': {'metadata': {
                'flexmem_base_weight_multiplier': '0'}}})
        self.boot(self.images[0], host='c')
        self.assertNotEqual(['c'], self.boot(self.images[0]))
        self.flags(base_weight_multiplier=0.0, group='flexmem')
        self.assertLess(1, len(set(self.boot(self.images[1], number=4))))
