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

"""What tests share that move a server while it runs.

The server's guest reads all files of its image again and again, and adds
lines to a file with fsync; see keep_busy in tests/witness/guest/init.
"""

import json

from openstack import exceptions as sdk_exceptions

from tests.cloud import harness
from tools.cloud import layout

DATA_BYTES = 64 << 20

_WORD = 'PULSE '

_ENDS = ('completed', 'failed', 'error', 'cancelled')

#: A nova-compute that was killed takes as long to be back at work.
_AWAKE_TIMEOUT_S = 240

#: A move takes 5 to 20 s on an idle host.
_MOVE_TIMEOUT_S = 600


class MovingTestCase(harness.CloudTestCase):
    """Has servers that notice whatever a move does to them.

    :ivar stock: the ids of those with Nova's own root disk
    """

    def setUp(self):
        super().setUp()
        self.stock: set[str] = set()

    def start_busy(self, name='moving', data_bytes=DATA_BYTES, **kwargs):
        """Boot a server that is busy; return its id.

        :param name, data_bytes: of its image; the name begins with moving
        """
        server_id = self.start_flexmem(
            self.image(name, data_bytes=data_bytes), **kwargs)
        self.wait_pulse(server_id)
        return server_id

    def start_stock(self, **kwargs):
        """Boot a server with Nova's own disk that is busy; return its id."""
        server_id = self.boot_stock(
            self.image('moving', data_bytes=DATA_BYTES), **kwargs)
        self.wait(server_id, 'ACTIVE')
        self.wait_pulse(server_id)
        return server_id

    def boot_stock(self, image_id, ram_mib=harness.RAM_MIB, **kwargs):
        """Ask for a server with Nova's own disk; return its id."""
        server_id = self.boot(image_id, self.flavor(
            {'flexmem:policy': 'disabled'}, ram_mib=ram_mib), **kwargs)
        self.stock.add(server_id)
        return server_id

    @staticmethod
    def pulse(console):
        """Return what a guest said last on its console, {} if nothing."""
        found = {}
        for line in console.splitlines():
            _before, word, text = line.partition(_WORD)
            if word:
                try:
                    found = json.loads(text)
                except ValueError:  # the kernel wrote into the line
                    continue
        return found

    def wait_pulse(self, server_id, after=0):
        """Wait until the guest has gone round again, and all was right.

        :param after: the number of a round
        :returns: the number of the last round
        """
        found: dict[str, int] = {}

        def beats():
            console = self.console(server_id)
            found.update(self.pulse(console))
            if found.get('count', 0) > after:
                return True
            self.assertNotIn('Kernel panic', console)
            return False

        self.wait_for(beats, harness.READY_TIMEOUT_S,
                      lambda: f'the guest is silent since round {after}\n'
                      + self.console(server_id)[-2000:])
        self.assertEqual(0, found['wrong'], found)
        return found['count']

    def migrations(self, server_id):
        """Return the live migrations of a server, the last one first."""
        found = self.call('GET', f'/os-migrations?instance_uuid={server_id}'
                          '&migration_type=live-migration')['migrations']
        return sorted(found, key=lambda each: each['id'], reverse=True)

    def begin_move(self, server_id, host=None):
        """Ask for a live migration; return the id that it has."""
        before = {each['id'] for each in self.migrations(server_id)}
        self.request_id = self.act(server_id, 'os-migrateLive', {
            'host': host, 'block_migration': 'auto'})
        new = []

        def began():
            new[:] = [each['id'] for each in self.migrations(server_id)
                      if each['id'] not in before]
            return new

        self.wait_for(began, 60, lambda: 'no migration began')
        return new[0]

    def state(self, server_id, migration_id):
        """Return the state of a migration, as Nova calls it."""
        return next(each['status'] for each in self.migrations(server_id)
                    if each['id'] == migration_id)

    def ended(self, server_id, migration_id):
        """Return whether a migration is over, well or not."""
        return self.state(server_id, migration_id) in _ENDS

    def end_move(self, server_id, migration_id):
        """Wait until a migration has ended and the server is active.

        :returns: how it ended
        """
        self.wait_for(
            lambda: self.ended(server_id, migration_id),
            _MOVE_TIMEOUT_S, lambda: f'{server_id} is still being moved:'
            f' {self.migrations(server_id)[0]}')
        self.wait(server_id, 'ACTIVE')
        return self.state(server_id, migration_id)

    def move(self, server_id):
        """Move a server to the other host; check that it lost nothing.

        :returns: the host that it is on then
        """
        source = self.host_of(server_id)
        count = self.wait_pulse(server_id)
        migration_id = self.begin_move(server_id)
        self.assertEqual('completed', self.end_move(server_id, migration_id),
                         self.why(server_id))
        target = self.host_of(server_id)
        self.assertNotEqual(source, target)
        self.check_unharmed(server_id, count)
        self.assertEqual([], [path for path in self.hosts.left(server_id)
                              if source in path])
        return target

    def check_unharmed(self, server_id, count):
        """Check that a guest runs on as if nothing had been.

        :param count: a round of it before
        """
        self.wait_pulse(server_id, self.wait_pulse(server_id, count))
        status = self.wait_guest(server_id)
        if server_id in self.stock:
            self.assertEqual(('ext4', 'ok', 1), (
                status['root'], status['tree'], status['boot']), status)
            return
        self.assert_flexmem(status, boot=1)
        self.assertIn(f'{server_id}', ' '.join(
            path for path in self.hosts.left(server_id)
            if '/uses/' in path and self.host_of(server_id) in path))

    def set_speed(self, server_id, mib_s):
        """Set how fast libvirt may move a server, 0: as it can."""
        self.cloud.machines[self.host_of(server_id)].run(
            'virsh', 'migrate-setspeed', server_id, str(mib_s))

    def set_status(self, node, status):
        """Let Nova put servers on a host (enabled), or not (disabled)."""
        [service] = self._services(node)
        self.call('PUT', f'/os-services/{service["id"]}',
                  json={'status': status})

    def wait_awake(self):
        """Wait until both hosts are at work, by an answer of each."""
        self.wait_for(lambda: all(map(self._is_awake, layout.NODES)),
                      _AWAKE_TIMEOUT_S, lambda: 'a host does not answer')

    def _is_awake(self, node):
        if any((each['status'], each['state']) != ('enabled', 'up')
               for each in self._services(node)):
            return False
        try:
            [found] = self.call('GET', '/os-hypervisors/detail'
                                f'?hypervisor_hostname_pattern={node}'
                                )['hypervisors']
        except sdk_exceptions.SDKException:
            return False
        return bool(found['uptime'])

    def _services(self, node):
        return self.call('GET', '/os-services?binary=nova-compute'
                         f'&host={node}')['services']

    def why(self, server_id):
        """Return what Nova says of a server's last action, text."""
        path = f'/servers/{server_id}/os-instance-actions/{self.request_id}'
        events = self.call('GET', path)['instanceAction']['events']
        return ' '.join(event['details'] or '' for event in events)

    def other(self, node):
        """Return the other of the two hosts."""
        [other] = set(layout.NODES) - {node}
        return other
