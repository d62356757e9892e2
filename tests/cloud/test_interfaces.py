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

"""Network interfaces of servers that run."""

from tests.cloud import harness


class InterfaceTest(harness.CloudTestCase):

    def test_attach_and_detach(self):
        network = self.connection.network.create_network(name='test')
        self.addCleanup(self.connection.network.delete_network, network)
        port = self.connection.network.create_port(
            network_id=network.id,
            project_id=self.connection.current_project_id)
        self.addCleanup(self.connection.network.delete_port, port)
        server_id = self.start_flexmem(self.image())
        path = f'/servers/{server_id}/os-interface'
        self.call('POST', path,
                  json={'interfaceAttachment': {'port_id': port.id}})
        self._wait_nics(server_id, [port.mac_address])
        self.call('DELETE', f'{path}/{port.id}')
        self._wait_nics(server_id, [])

    def _wait_nics(self, server_id, wanted):
        self.wait_for(lambda: self.wait_guest(server_id)['nics'] == wanted,
                      120, lambda: f'{wanted} are not the interfaces:'
                      f' {self.wait_guest(server_id)}')
