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

"""Many at once, and a nova-compute that is killed."""

import os

from tests.cloud import harness
from tools.cloud import layout

_SERVERS = 8


class FaultsTest(harness.CloudTestCase):

    def test_boots_of_a_new_image_at_once_take_one_build_per_host(self):
        image_id = self.image('many', anew=True)
        flavor_id = self.flavor()
        servers = [self.boot(image_id, flavor_id, host=node)
                   for node in layout.NODES for _ in range(_SERVERS // 2)]
        for server_id in servers:
            self.wait(server_id, 'ACTIVE')
        for server_id in servers:
            self.assert_flexmem(self.wait_guest(server_id), boot=1)
        self.assertEqual(dict.fromkeys(layout.NODES, 1),
                         self.hosts.builds(image_id))

    def test_nova_compute_is_killed_while_it_builds(self):
        image_id = self.image('killed', anew=True)
        compute = self.cloud.services['nova-compute-node1']
        before = self.hosts.bases('node1')
        server_id = self.boot(image_id, host='node1')
        builds = self.hosts.path('node1', 'store', 'builds')
        self.wait_for(lambda: os.listdir(builds), harness.READY_TIMEOUT_S,
                      lambda: 'no build began')
        compute.kill()
        self.assertEqual(before, self.hosts.bases('node1'))
        compute.start()
        self.wait(server_id, 'ERROR')
        self.wait_for(lambda: not os.listdir(builds), 120,
                      lambda: f'{os.listdir(builds)} is left of the build')
        self.delete(server_id)
        self.assert_nothing_left(server_id)
        self.cloud.wait_ready()
        self.start_flexmem(image_id, host='node1')
        self.assertEqual(1, self.hosts.builds(image_id)['node1'])
