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


"""How often a base is built, and how long it is needed."""

import glob
import math
import os

from tests.lifecycle import harness
from tests.lifecycle import servers


GIB = 1 << 30


class BuildsTest(harness.NovaTestCase):

    # an empty store
    own_store = True

    def test_first_and_next(self):
        """Eight servers of a new image at once, and one later."""
        self.assertEqual([], self.store.keys())
        flavor = self.make_flavor(ram=160, **harness.REQUIRED)
        asked = [self.create(flavor=flavor) for _ in range(8)]
        booted = [self.wait_status(server, 'ACTIVE', servers.BUILD_TIMEOUT_S)
                  for server in asked]
        self.assertEqual(self.store.keys(), self.builds)
        self.assertEqual({server['id'] for server in booted},
                         self.users(self.builds[0]))
        self.assertEqual(math.ceil(self.store.kept_bytes() / GIB),
                         self._reserved_gib())
        self.delete(*booted)

        server = self.boot()
        self.hear(server, 1, **harness.FLEXMEM)
        self.assertEqual(1, len(self.builds))

        # the base outlives the image
        self.glance.delete(None, self.image)
        self.act(server, 'reboot', {'type': 'HARD'})
        self.hear(server, 2, **harness.FLEXMEM)
        self.delete(server)

    def _reserved_gib(self):
        """Return how much of its disk the host keeps from instances."""
        return self.provider('inventories')['DISK_GB']['reserved']

    def test_cached_ahead(self):
        """What "openstack aggregate cache image" makes is used."""
        aggregate = self.api.post_aggregate({'aggregate': {'name': 'racks'}})
        self.api.add_host_to_aggregate(aggregate['id'], 'compute')
        self.api.api_post(f'/os-aggregates/{aggregate["id"]}/images',
                          {'cache': [{'id': self.image}]})
        self.wait(lambda: self.builds, servers.BUILD_TIMEOUT_S,
                  lambda: 'no base was built')
        self.assertEqual(self.store.keys(), self.builds)

        server = self.boot()
        self.hear(server, 1, **harness.FLEXMEM)
        self.assertEqual(self.builds, [self.base_key(server)])
        # Nova keeps no copy of the image beside it
        self.assertEqual([], glob.glob(
            os.path.join(self.instances, '_base', '*')))
        self.delete(server)
