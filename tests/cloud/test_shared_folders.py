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

"""Hosts that share their instances' folders: nothing of a disk is copied.

What they share is a FUSE view of a folder that libvirt takes for one of a
cluster, so that it need not be told that the move is safe.
"""

import os

from tests.cloud import moving
from tools.cloud import layout

#: libvirt knows such a filesystem by this name.
_OPTIONS = 'subtype=glusterfs,attr_timeout=0,entry_timeout=0'


class SharedFoldersTest(moving.MovingTestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for node in layout.NODES:
            cls._share(node)
            cls.addClassCleanup(cls.cloud.machines[node].run, 'umount',
                                '--lazy', cls.cloud.layout.instances)

    @classmethod
    def _share(cls, node):
        cls.cloud.machines[node].run(
            'bindfs', '-o', _OPTIONS, cls.hosts.path('node1', 'instances'),
            cls.cloud.layout.instances)

    def has_power(self, node):
        self._share(node)

    def test_back_and_forth(self):
        server_id = self.start_busy(host='node1')
        for target in ('node2', 'node1', 'node2'):
            count = self.wait_pulse(server_id)
            migration_id = self.begin_move(server_id)
            self.assertEqual('completed',
                             self.end_move(server_id, migration_id),
                             self.why(server_id))
            self._check(server_id, target, count)
            moved = self.hosts.migrated(server_id, target)
            self.assertEqual(0, moved.get('disk_total', 0), moved)
        # as any other server there
        self.act(server_id, 'reboot', {'type': 'HARD'})
        self.wait(server_id, 'ACTIVE')
        self.assert_flexmem(self.wait_guest(server_id, boot=2), boot=2)
        self.delete(server_id)
        self.assert_nothing_left(server_id)

    def test_abort_and_a_destination_that_dies(self):
        server_id = self.start_busy(host='node1')
        for fault in (self._abort, self._kill):
            count = self.wait_pulse(server_id)
            # there is no disk that would take time
            self.set_speed(server_id, 4)
            migration_id = self.begin_move(server_id)
            self.wait_for(
                lambda: self.hosts.waits(server_id, 'node2'), 300,
                lambda: self.state(server_id, migration_id))
            fault(server_id, migration_id)
            self.assertNotEqual('completed',
                                self.end_move(server_id, migration_id))
            self._check(server_id, 'node1', count)
        self.set_speed(server_id, 0)
        count = self.wait_pulse(server_id)
        self.assertEqual('completed', self.end_move(
            server_id, self.begin_move(server_id)), self.why(server_id))
        self._check(server_id, 'node2', count)

    def _abort(self, server_id, migration_id):
        self.wait_for(
            lambda: self.state(server_id, migration_id) == 'running', 300,
            lambda: self.state(server_id, migration_id))
        self.call('DELETE', f'/servers/{server_id}/migrations/{migration_id}')

    def _kill(self, server_id, _migration_id):
        self.hosts.kill(self.hosts.qemus(server_id, 'node2'))

    def test_evacuate_after_a_move(self):
        server_id = self.start_busy(host='node1')
        self.assertEqual('completed', self.end_move(
            server_id, self.begin_move(server_id)), self.why(server_id))
        with self.power_cut('node2'):
            self.assertEqual('node1', self.evacuate(server_id))
            # with what it wrote
            self.assert_flexmem(self.wait_guest(server_id, boot=2), boot=2)
        # node2 takes back what it used, and leaves the folder alone
        self.keeps_nothing('node2', server_id, '/uses/')
        self.act(server_id, 'reboot', {'type': 'HARD'})
        self.wait(server_id, 'ACTIVE')
        self.assert_flexmem(self.wait_guest(server_id, boot=3), boot=3)

    def _check(self, server_id, node, count):
        """Check that a server runs on a host, and on no other."""
        self.assertEqual(node, self.host_of(server_id))
        self.check_unharmed(server_id, count)
        self.assertEqual({node: 'running'}, self.hosts.states(server_id))
        self.assertEqual([], [
            path for path in self.hosts.left(server_id)
            if '/uses/' in path and self.other(node) in path])
        self.assertTrue(os.path.exists(self.hosts.path(
            'node1', 'instances', server_id, 'disk')))
