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

"""Servers that are moved, suspended and resumed while they work."""

import shutil

from tests.cloud import moving


class LiveMigrationTest(moving.MovingTestCase):

    def test_back_and_forth(self):
        server_id = self.start_busy(host='node1')
        for target in ('node2', 'node1', 'node2'):
            self.assertEqual(target, self.move(server_id))
        # as any other server there
        self.act(server_id, 'reboot', {'type': 'SOFT'})
        self.wait(server_id, 'ACTIVE')
        self.assert_flexmem(self.wait_guest(server_id, boot=2), boot=2)
        self.delete(server_id)
        self.assert_nothing_left(server_id)

    def test_abort(self):
        self._abort(self.start_busy(host='node1'))

    def test_abort_of_a_stock_server(self):
        self._abort(self.start_stock(host='node1'))

    def _abort(self, server_id):
        """Abort a move, see the server run on, and move it."""
        count = self.wait_pulse(server_id)
        migration_id = self.begin_move(server_id)
        self.wait_for(
            lambda: self.state(server_id, migration_id) == 'running', 300,
            lambda: self.state(server_id, migration_id))
        self.call('DELETE', f'/servers/{server_id}/migrations/{migration_id}')
        self.wait_for(lambda: self.ended(server_id, migration_id), 300,
                      lambda: self.state(server_id, migration_id))
        if server_id in self.stock:
            # Nova says that it is broken, which it is not
            self.wait(server_id, 'ERROR')
            self.act(server_id, 'os-resetState', {'state': 'active'})
        else:
            self.assertIn(self.state(server_id, migration_id),
                          ('cancelled', 'failed'))
        self.check_unharmed(server_id, count)
        self.assertEqual('ACTIVE', self.show(server_id)['status'])
        self.move(server_id)

    def test_destination_without_the_base(self):
        """It gets the same base, byte for byte, before anything moves."""
        server_id = self.start_busy(host='node1')
        count = self.wait_pulse(server_id)
        base = self.hosts.base(server_id, 'node1')
        other = self.hosts.path('node2', 'store', 'bases', base.key)
        shutil.rmtree(other, ignore_errors=True)
        self.assertEqual('node2', self.move(server_id))
        self.check_unharmed(server_id, count)
        self.assertEqual(base.layout,
                         self.hosts.base(server_id, 'node2').layout)

    def test_twenty_times(self):
        self._move_often(self.start_busy(host='node1'))

    def test_a_stock_server_twenty_times(self):
        self._move_often(self.start_stock(host='node1'))

    def _move_often(self, server_id):
        for _ in range(20):
            self.move(server_id)

    def test_suspend_and_resume(self):
        server_id = self.start_busy()
        count = self.wait_pulse(server_id)
        self.act(server_id, 'suspend')
        self.wait(server_id, 'SUSPENDED')
        node = self.host_of(server_id)
        self.assertNotEqual([], [path for path in self.hosts.left(server_id)
                                 if '/uses/' in path and node in path])
        self.act(server_id, 'resume')
        self.wait(server_id, 'ACTIVE')
        self.check_unharmed(server_id, count)
        self.move(server_id)
