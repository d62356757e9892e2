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

"""Drills: moves of a server to whose hosts something happens.

The server computes the checksums of its image's files and writes with fsync
all the while. After each drill it runs on one host, has lost nothing, and the
other host has nothing of it. Several may run beside each other in one cloud,
each with a seed of its own.
"""

import collections
import contextlib
import os
import time

from openstack import exceptions as sdk_exceptions

from tests.cloud import move_faults
from tests.cloud import moving
from tools.cloud import layout

#: How many, and the seed of their order and of their random points.
_DRILLS = int(os.environ.get('FLEXMEM_MOVE_DRILLS', '100'))
_SEED = int(os.environ.get('FLEXMEM_DRILL_SEED', '1'))

#: Less than elsewhere, so that a round takes little time.
_DATA_BYTES = 8 << 20

_ANSWER_TIMEOUT_S = 300

#: What Nova does on the other host afterwards it does without our waiting.
_TIDY_TIMEOUT_S = 40


class MoveDrillsTest(moving.MovingTestCase):

    def test_drills(self):
        faults = move_faults.Faults(self, _SEED)
        results = collections.Counter()
        harmed = []
        server_id = self._start()
        began = time.monotonic()
        self.end_move(server_id, self.begin_move(server_id))
        usual_s = time.monotonic() - began
        for number, name in enumerate(faults.choose(_DRILLS)):
            began = time.monotonic()
            try:
                result = self._drill(server_id, faults, name, usual_s)
            except Exception as e:  # the others are still to be seen
                result = 'HARMED'
                harmed.append(f'{number} {name} of {server_id}: {e}')
                print(harmed[-1])
                server_id = self._start()
            results[name, result] += 1
            print(f'drill {number} of seed {_SEED}: {name}: {result},'
                  f' {time.monotonic() - began:.0f} s', flush=True)
        for (name, result), many in sorted(results.items()):
            print(f'{name:24}{many:4}  {result}')
        self.assertEqual([], harmed)

    def _start(self):
        # on a base of its own, which may be spoilt while others are drilled
        return self.start_busy(data_bytes=_DATA_BYTES, name=f'moving-{_SEED}')

    def console(self, server_id):
        found = []

        def answers():
            with contextlib.suppress(sdk_exceptions.SDKException):
                found.append(super(MoveDrillsTest, self).console(server_id))
            return found

        # the host may be another drill's
        self.wait_for(answers, _ANSWER_TIMEOUT_S, lambda: 'no console')
        return found[0]

    def _drill(self, server_id, faults, name, usual_s):
        """Harm a move of a server; check that it is none the worse for it.

        :returns: what came of it, text
        """
        source = self.host_of(server_id)
        count = self.wait_pulse(server_id)
        faults.do(name, move_faults.Move(
            server_id, source, self.other(source), usual_s,
            lambda: self.begin_move(server_id)))
        self.wait_awake()
        self.wait(server_id, 'ACTIVE')
        node = self.host_of(server_id)
        self.wait_for(
            lambda: self.hosts.states(server_id) == {node: 'running'},
            _TIDY_TIMEOUT_S, lambda: f'Nova has it on {node}, libvirt says:'
            f' {self.hosts.states(server_id)}')
        self.check_unharmed(server_id, count)
        self.assertEqual(
            {node: 1, self.other(node): 0},
            {each: len(self.hosts.qemus(server_id, each))
             for each in layout.NODES})
        left = self._left(server_id, self.other(node))
        # also once all of them are done with it
        self.assertEqual('ACTIVE', self.show(server_id)['status'])
        return ', '.join(['stayed' if node == source else 'moved', *left])

    def _left(self, server_id, node):
        """Return what a host that a server is not on has of it, a list."""
        left = []
        deadline = time.monotonic() + _TIDY_TIMEOUT_S
        while True:
            left[:] = [
                path.replace(server_id, 'ID').partition('/host/')[2]
                for path in self.hosts.left(server_id) if node in path]
            if node in self._claims(server_id):
                left.append('a claim')
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(1)

    def _claims(self, server_id):
        """Return the hosts that Placement has a server on."""
        placement = self.connection.placement
        names = {each['uuid']: each['name'] for each in placement.get(
            '/resource_providers').json()['resource_providers']}
        return {names[each] for each in placement.get(
            f'/allocations/{server_id}').json()['allocations']}
