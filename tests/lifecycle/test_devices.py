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


"""Volumes and interfaces that come and go."""

import os

from nova_flexmem import process
from tests.lifecycle import harness


class DevicesTest(harness.NovaTestCase):

    def test_devices(self):
        server = self.boot()
        self.hear(server, 1, **harness.FLEXMEM, nics=[])
        self.addCleanup(self._remove_taps)
        path = os.path.join(self.folder, 'volume')
        volume = self.cinder.add(path)

        self.api.post_server_volume(
            server['id'], {'volumeAttachment': {'volumeId': volume}})
        self.hear(server, 1, seen={'vdb': 'volume'})
        self.api.attach_interface(server['id'], {'interfaceAttachment': {
            'net_id': self.neutron.network_1['id']}})
        status = self.hear(server, 1, nics=lambda nics: len(nics) == 1)
        self.assertEqual(b'1\n', _answer(path))

        # they are there after a start, too
        self.act(server, 'reboot', {'type': 'HARD'})
        self.hear(server, 2, **harness.FLEXMEM, seen={'vdb': 'volume'},
                  nics=status['nics'])
        self.assertEqual(b'2\n', _answer(path))

        self.api.delete_server_volume(server['id'], volume)
        self.hear(server, 2, seen={},
                  disks=lambda disks: list(disks) == ['vda'])
        [port] = self.api.get_port_interfaces(server['id'])
        self.api.detach_interface(server['id'], port['port_id'])
        self.hear(server, 2, nics=[])
        self.act(server, 'reboot', {'type': 'SOFT'})
        self.hear(server, 3, **harness.FLEXMEM, nics=[], seen={})
        self.delete(server)

    def _remove_taps(self):
        """Remove the tap devices that a failed test has left."""
        for port in self.neutron._ports:
            name = f'tap{port}'[:14]
            if os.path.exists(f'/sys/class/net/{name}'):
                process.run('ip', 'link', 'delete', name, timeout_s=60)


def _answer(path):
    """Return what the witness wrote to its volume."""
    with open(path, 'rb') as f:
        f.seek(512)
        return f.read(512).rstrip(b'\0')
