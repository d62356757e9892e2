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

"""Where nova-scheduler puts servers of one image."""

import uuid

from tests.cloud import harness
from tools.cloud import layout

_MULTIPLIER = 'flexmem_base_weight_multiplier'


class PlacedTogetherTest(harness.CloudTestCase):

    def setUp(self):
        super().setUp()
        self.first, self.other = reversed(layout.NODES)
        self.image_id = self.image('together', anew=True)
        self.flavor_id = self.flavor()
        self.assertEqual(self.first, self.boot_on(host=self.first))

    def boot_on(self, hints=None, **kwargs):
        """Boot a server; return its host."""
        server = {'name': 'together', 'imageRef': self.image_id,
                  'networks': 'none', 'flavorRef': self.flavor_id} | kwargs
        body = self.call('POST', '/servers', json={
            'server': server, 'os:scheduler_hints': hints or {}})
        server_id = body['server']['id']
        self.addCleanup(self.delete, server_id)
        self.wait(server_id, 'ACTIVE')
        return self.host_of(server_id)

    def test_on_the_host_that_has_the_base(self):
        # the other host has more free memory with each
        for _server in range(2):
            self.assertEqual(self.first, self.boot_on())
        group = self.call('POST', '/os-server-groups', json={
            'server_group': {'name': 'apart',
                             'policy': 'soft-anti-affinity'}})
        group_id = group['server_group']['id']
        self.addCleanup(self.call, 'DELETE', f'/os-server-groups/{group_id}')
        self.assertEqual(set(layout.NODES), {
            self.boot_on({'group': group_id}) for _server in layout.NODES})

    def test_not_in_an_aggregate_that_says_so(self):
        body = self.call('POST', '/os-aggregates', json={
            'aggregate': {'name': uuid.uuid4().hex}})
        path = f'/os-aggregates/{body["aggregate"]["id"]}'
        self.addCleanup(self.call, 'DELETE', path)
        self.call('POST', f'{path}/action',
                  json={'add_host': {'host': self.first}})
        self.addCleanup(self.call, 'POST', f'{path}/action',
                        json={'remove_host': {'host': self.first}})
        self.call('POST', f'{path}/action', json={
            'set_metadata': {'metadata': {_MULTIPLIER: '0'}}})
        self.assertEqual(self.other, self.boot_on())
