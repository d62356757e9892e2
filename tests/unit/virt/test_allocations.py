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

from nova import exception as nova_exception
import testtools

from nova_flexmem.virt import allocations

UUID = 'd2a46a02-0a5a-4e0a-9c39-4f1c1f1f5b2e'
HELD = {'allocations': {'host': {'resources': {'MEMORY_MB': 512}}},
        'consumer_generation': 3, 'project_id': 'p', 'user_id': 'u'}


class Placement:
    """Nova's client of Placement, with one consumer."""

    def __init__(self):
        self.held = HELD.copy()
        self.down = False
        self.full = False

    def take(self):
        self.held = {'allocations': {}}

    def get_allocs_for_consumer(self, _context, consumer):
        if self.down:
            raise nova_exception.ConsumerAllocationRetrievalFailed(
                consumer_uuid=consumer, error='down')
        return self.held

    def put_allocations(self, _context, _consumer, payload):
        if not self.full:
            self.held = payload.copy()
        return not self.full


class AllocationsTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.placement = Placement()
        self.allocations = allocations.Allocations()
        self.allocations.keep(None, self.placement, UUID)

    def restore(self, here=True):
        self.allocations.restore(self.placement, lambda _uuid: here)

    def test_what_was_taken_is_put_back_once(self):
        self.restore()
        self.assertEqual(HELD, self.placement.held)
        self.placement.take()
        self.restore()
        # a consumer without allocations is unknown, and has no generation
        self.assertEqual(HELD | {'consumer_generation': None},
                         self.placement.held)
        self.placement.take()
        self.restore()
        self.assertEqual({}, self.placement.held['allocations'])

    def test_of_one_that_is_refused_twice(self):
        self.placement.take()
        self.allocations.keep(None, self.placement, UUID)
        self.restore()
        self.assertEqual(HELD['allocations'],
                         self.placement.held['allocations'])

    def test_not_of_an_instance_that_is_gone(self):
        self.placement.take()
        self.restore(here=False)
        self.assertEqual({}, self.placement.held['allocations'])

    def test_as_soon_as_placement_can(self):
        self.placement.take()
        self.placement.down = True
        self.restore()
        self.placement.down, self.placement.full = False, True
        self.restore()
        self.assertEqual({}, self.placement.held['allocations'])
        self.placement.full = False
        self.restore()
        self.assertEqual(HELD['allocations'],
                         self.placement.held['allocations'])

    def test_not_of_what_was_not_known(self):
        self.placement.down = True
        allocations.Allocations().keep(None, self.placement, UUID)

    def test_not_for_ever(self):
        self.patch(allocations.time, 'monotonic',
                   lambda now=allocations.time.monotonic(): now + 3600)
        self.restore()
        self.placement.take()
        self.restore()
        self.assertEqual({}, self.placement.held['allocations'])
