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

"""Bases that one host builds and the other takes from Glance."""

import json
import time

from tests.cloud import harness
from tools.cloud import control
from tools.cloud import layout

_OPTIONS = """
[flexmem]
publish_bases = glance

[flexmem_glance]
auth_section = placement
"""

#: Of the image that the times are taken with: what most images have at least.
_DATA_BYTES = 200 << 20

_SERVERS = 8


class PublishedTest(harness.CloudTestCase):

    def setUp(self):
        super().setUp()
        for node in layout.NODES:
            path = self.hosts.path(node, 'etc', 'nova.conf')
            with open(path, encoding='utf-8') as f:
                text = f.read()
            self.addCleanup(self._restart_with, node, path, text)
            self._restart_with(node, path, text + _OPTIONS)
        self.cloud.wait_ready()
        # before nova-compute is what it was
        self.addCleanup(self.command, 'prune')

    def _restart_with(self, node, path, text):
        compute = self.cloud.services[f'nova-compute-{node}']
        compute.stop()
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text)
        compute.start()

    def command(self, name):
        """Return what "nova-flexmem image NAME --published" lists."""
        return json.loads(self.cloud.machines['node1'].run(
            control.program('nova-flexmem'), '--config-file',
            self.hosts.path('node1', 'etc', 'nova.conf'), 'image', name,
            '--published', '-f', 'json'))

    def published(self, image_id, status='active'):
        """Wait until a base is in Glance; return what is known of it."""
        found = []

        def there():
            found[:] = [each for each in self.command('list')
                        if each['Image'] == image_id]
            return [each['Status'] for each in found] == [status]

        self.wait_for(there, 300, lambda: f'{image_id} in Glance: {found}')
        return found[0]

    def test_eight_at_once(self):
        image_id = self.image('eight', anew=True)
        flavor_id = self.flavor()
        servers = [self.boot(image_id, flavor_id, host=node)
                   for node in layout.NODES for _ in range(_SERVERS // 2)]
        for server_id in servers:
            self.wait(server_id, 'ACTIVE')
        for server_id in servers:
            self.assert_flexmem(self.wait_guest(server_id), boot=1)
        self.assertEqual(1, sum(self.hosts.builds(image_id).values()))
        self.assertEqual(*(self.hosts.base_of(each, node) for each, node in
                           zip(servers[::_SERVERS // 2], layout.NODES)))

    def test_time_to_the_first_boot(self):
        image_id = self.image('times', anew=True, data_bytes=_DATA_BYTES)
        flavor_id = self.flavor()
        took_s = []
        for node in layout.NODES:
            began = time.monotonic()
            server_id = self.boot(image_id, flavor_id, host=node)
            self.wait(server_id, 'ACTIVE')
            took_s.append(time.monotonic() - began)
            self.assert_flexmem(self.wait_guest(server_id), boot=1)
            # the first boot does not wait for it
            found = self.published(image_id)
        print(f'until ACTIVE: {took_s[0]:.0f} s with a build, {took_s[1]:.0f}'
              f' s without, {took_s[1] / took_s[0]:.2f};'
              f' {found["Size MiB"]} MiB in Glance')
        self.assertEqual({'node1': 1, 'node2': 0},
                         self.hosts.builds(image_id))
        self.assertLessEqual(took_s[1] / took_s[0], 0.35)

    def test_the_image_is_deleted(self):
        """One server is evacuated, another unshelved on the other host."""
        image_id = self.image('deleted', anew=True)
        lost = self.start_flexmem(image_id, host='node1')
        shelved = self.start_flexmem(image_id, host='node1')
        base = self.published(image_id)
        # of a server whose image is gone there is no snapshot any more
        self.act(shelved, 'shelve')
        self.wait(shelved, 'SHELVED_OFFLOADED')
        self.connection.image.delete_image(image_id)
        self.assertNotIn(base['Base'], self.hosts.bases('node2'))
        self.assertEqual([], self.command('prune'))
        with self.power_cut('node1'):
            self.evacuate(lost)
            self.assert_flexmem(self.wait_guest(lost), boot=1)
            self.assertIn(base['Base'], self.hosts.bases('node2'))
            self.act(shelved, 'unshelve', {'host': 'node2'})
            self.wait(shelved, 'ACTIVE')
            self.assert_flexmem(self.wait_guest(shelved, boot=2), boot=2)
        self.assertEqual(0, self.hosts.builds(image_id)['node2'])
        for server_id in (lost, shelved):
            self.delete(server_id)
        [removed] = self.command('prune')
        self.assertEqual(base, removed)
