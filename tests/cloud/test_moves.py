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

"""Servers that move between hosts, or out of a host and back."""

from tests.cloud import harness
from tools.cloud import layout


class MovesTest(harness.CloudTestCase):

    def test_migrate_and_revert(self):
        server_id = self.start_flexmem(self.image())
        source = self.host_of(server_id)
        self.act(server_id, 'migrate')
        self.wait(server_id, 'VERIFY_RESIZE')
        target = self.host_of(server_id)
        self.assertNotEqual(source, target)
        self.assert_flexmem(self.wait_guest(server_id, boot=2), boot=2)
        self.act(server_id, 'revertResize')
        self.wait(server_id, 'ACTIVE')
        self.assertEqual(source, self.host_of(server_id))
        # what it wrote on the other host went with that
        self.assert_flexmem(self.wait_guest(server_id, boot=2), boot=2)
        self.assertEqual([], [path for path in self.hosts.left(server_id)
                              if target in path])

    def test_migrate_without_its_image(self):
        image_id = self.image('lost', anew=True)
        server_id = self.start_flexmem(image_id, host='node1')
        self.connection.image.delete_image(image_id)
        self.act(server_id, 'migrate')
        self.wait(server_id, 'VERIFY_RESIZE')
        self.assert_flexmem(self.wait_guest(server_id, boot=2), boot=2)
        # not built again: that would take Glance's image
        self.assertEqual(*(self.hosts.base_of(server_id, node)
                           for node in layout.NODES))
        self.assertEqual(0, self.hosts.builds(image_id)['node2'])
        self.act(server_id, 'confirmResize')
        self.wait(server_id, 'ACTIVE')
        self.act(server_id, 'reboot', {'type': 'HARD'})
        self.wait(server_id, 'ACTIVE')
        self.assert_flexmem(self.wait_guest(server_id, boot=3), boot=3)

    def test_resize_up(self):
        server_id = self.start_flexmem(self.image())
        self.act(server_id, 'resize', {'flavorRef': self.flavor(disk_gib=2)})
        self.wait(server_id, 'VERIFY_RESIZE')
        status = self.wait_guest(server_id, boot=2)
        self.assert_flexmem(status, boot=2)
        self.assertEqual({'vda': 2 << 30}, status['disks'])
        self.assertGreater(status['root_bytes'], 1.8 * (1 << 30))
        self.act(server_id, 'confirmResize')
        self.wait(server_id, 'ACTIVE')

    def test_shelve_and_unshelve_on_the_other_host(self):
        server_id = self.start_flexmem(self.image())
        source = self.host_of(server_id)
        [target] = set(layout.NODES) - {source}
        self.act(server_id, 'shelve')
        self.wait(server_id, 'SHELVED_OFFLOADED')
        self.assert_nothing_left(server_id)
        self.act(server_id, 'unshelve', {'host': target})
        self.wait(server_id, 'ACTIVE')
        self.assertEqual(target, self.host_of(server_id))
        self.assert_flexmem(self.wait_guest(server_id, boot=2), boot=2)
        self.delete(server_id)
        self.assert_nothing_left(server_id)

    def test_evacuate(self):
        server_id = self.start_flexmem(self.image(), host='node1')
        with self.power_cut('node1'):
            self.assertEqual('node2', self.evacuate(server_id))
            # without shared storage Nova builds it anew
            self.assert_flexmem(self.wait_guest(server_id), boot=1)
        self.keeps_nothing('node1', server_id)
        self.delete(server_id)
        self.assert_nothing_left(server_id)
