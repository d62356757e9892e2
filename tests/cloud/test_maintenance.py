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

"""Hosts that are emptied, die or boot: what becomes of their servers."""

from oslo_utils import units

from tests.cloud import moving

#: Slow enough for a move to be in course for half a minute.
_SLOW_MIB_S = 32


class MaintenanceTest(moving.MovingTestCase):

    def test_base_is_shared_at_once(self):
        resident = self.start_busy(host='node2')
        server_id = self.start_busy(host='node1')
        self.move(server_id)
        rows = self.hosts.memory('node2')
        mapped = {row['uuid']: row['base_mapped_bytes'] for row in rows
                  if row['kind'] == 'instance'}
        self.assertGreater(mapped[resident], 8 * units.Mi)
        self.assertGreater(mapped[server_id], 8 * units.Mi)
        key = self.hosts.base(server_id, 'node2').key
        [base] = [row for row in rows
                  if row['kind'] == 'base' and row['base'] == key]
        print('mapped', mapped, 'of base', base)
        self.assertGreater(base['saved_at_most_bytes'], 8 * units.Mi)

    def test_empty_a_host(self):
        """As `nova host-evacuate-live` does it: all servers at once."""
        servers = [self.start_busy(host='node1'),
                   self.start_busy(host='node1'),
                   self.start_stock(host='node1')]
        counts = [self.wait_pulse(each) for each in servers]
        self.set_status('node1', 'disabled')
        self.addCleanup(self.set_status, 'node1', 'enabled')
        begun = [(each, self.begin_move(each)) for each in servers]
        self.assertEqual(['completed'] * len(servers),
                         [self.end_move(*each) for each in begun])
        self.assertEqual([], self.call(
            'GET', '/servers?all_tenants=1&host=node1')['servers'])
        for server_id, count in zip(servers, counts):
            self.check_unharmed(server_id, count)
            self.assertEqual([], [path for path in self.hosts.left(server_id)
                                  if 'node1' in path])

    def test_force_complete(self):
        server_id = self.start_busy(host='node1')
        count = self.wait_pulse(server_id)
        migration_id = self.begin_slow_move(server_id)
        self.call('POST', f'/servers/{server_id}/migrations/{migration_id}'
                  '/action', json={'force_complete': None})
        self.wait_for(lambda: self.hosts.states(server_id).get('node1') in
                      ('paused', None), 60, lambda: 'the guest runs on')
        self.assertEqual('completed', self.end_move(server_id, migration_id))
        self.assertEqual('node2', self.host_of(server_id))
        self.check_unharmed(server_id, count)
        self.move(server_id)

    def test_source_starts_again_meanwhile(self):
        compute = self.cloud.services['nova-compute-node1']
        server_id = self.start_busy(host='node1')
        count = self.wait_pulse(server_id)
        self.begin_slow_move(server_id)
        compute.kill()
        compute.start()
        self.wait_awake()
        self.wait(server_id, 'ACTIVE')
        # Nova aborts what it finds
        self.assertEqual('node1', self.host_of(server_id))
        self.wait_for(
            lambda: self.hosts.states(server_id) == {'node1': 'running'},
            60, lambda: f'{self.hosts.states(server_id)}')
        self.check_unharmed(server_id, count)

    def test_evacuate_after_a_move(self):
        server_id = self.start_busy(host='node1')
        self.move(server_id)
        with self.power_cut('node2'):
            self.assertEqual('node1', self.evacuate(server_id))
            # without shared storage Nova builds it anew
            self.assert_flexmem(self.wait_guest(server_id), boot=1)
        self.keeps_nothing('node2', server_id)
        self.move(server_id)

    def test_suspended_while_the_host_boots(self):
        server_id = self.start_busy(host='node1')
        count = self.wait_pulse(server_id)
        self.act(server_id, 'suspend')
        self.wait(server_id, 'SUSPENDED')
        with self.power_cut('node1'):
            pass
        self.assertEqual('SUSPENDED', self.show(server_id)['status'])
        self.act(server_id, 'resume')
        self.wait(server_id, 'ACTIVE')
        self.check_unharmed(server_id, count)
        self.move(server_id)

    def begin_slow_move(self, server_id):
        """Begin a move that takes long; return the migration's id."""
        self.set_speed(server_id, _SLOW_MIB_S)
        migration_id = self.begin_move(server_id)
        self.wait_for(
            lambda: self.state(server_id, migration_id) == 'running', 300,
            lambda: self.state(server_id, migration_id))
        return migration_id
