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


"""Servers that write to memory alone (flexmem:writes=memory)."""

import os

from nova.tests.functional.api import client

from tests.lifecycle import harness


class MemoryTest(harness.NovaTestCase):

    extra_specs = {**harness.NovaTestCase.extra_specs,
                   'flexmem:writes': 'memory'}

    def test_memory(self):
        self.flags(shelved_offload_time=0)
        server = self.boot(flavor=self.make_flavor(
            ephemeral=1))
        # letters as Nova gives them
        disks = {'vda': 4096, 'vdb': 1 << 30}
        self.hear(server, 1, **harness.FLEXMEM, disks=disks,
                  rootdev='/dev/pmem0')
        self.assertNotIn('disk', os.listdir(self.path(server)))

        self.assertIn('has no disk', self.why_refused(server, 'shelve'))
        self.hear(server, 1)

        # a snapshot of nothing
        files = set(self.glance.files)
        self.assertIn('has no disk', self.why_refused(
            server, 'createImage', {'name': 'none'}))
        self.assertEqual(files, set(self.glance.files))
        self.hear(server, 1)

        self.act(server, 'os-stop', until='SHUTOFF')
        self.act(server, 'os-start')
        # a fresh root
        self.hear(server, 1, **harness.FLEXMEM, disks=disks)
        self.act(server, 'rescue', {}, until='RESCUE')
        self.hear(server, 1, **harness.STOCK,
                  disks=lambda disks: list(disks) == ['vda', 'vdb'],
                  seen=lambda seen: list(seen.values()) == ['base:witness'])
        self.act(server, 'unrescue')
        self.hear(server, 1, **harness.FLEXMEM, disks=disks)
        self.act(server, 'rebuild', {'imageRef': self.image})
        self.hear(server, 1, **harness.FLEXMEM, disks=disks)
        self.delete(server)

    def test_bad_extra_spec(self):
        e = self.assertRaises(client.OpenStackApiException, self.make_flavor,
                              flexmem_writes='nowhere')
        self.assertEqual(400, e.response.status_code)
        self.assertIn('nowhere', e.response.text)
