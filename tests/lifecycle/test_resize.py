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


"""Another flavor on the same host."""

import os

from tests.lifecycle import harness


class ResizeTest(harness.NovaTestCase):

    def test_resize(self):
        large = self.make_flavor(ram=320, disk=2)
        server = self.boot()
        first = self.hear(server, 1, **harness.FLEXMEM)

        self.act(server, 'resize', {'flavorRef': large}, until='VERIFY_RESIZE')
        self.hear(server, 2, disks={'vda': 2 << 30},
                  root_bytes=lambda size: size > 1.9 * first['root_bytes'],
                  ram_bytes=lambda size: size > first['ram_bytes'])
        # what the resized guest wrote goes, as with a stock server
        self.act(server, 'revertResize')
        self.hear(server, 2, disks={'vda': 1 << 30}, **harness.FLEXMEM,
                  root_bytes=first['root_bytes'],
                  ram_bytes=first['ram_bytes'])

        self.act(server, 'resize', {'flavorRef': large}, until='VERIFY_RESIZE')
        self.hear(server, 3, disks={'vda': 2 << 30}, **harness.FLEXMEM,
                  root_bytes=lambda size: size > 1.9 * first['root_bytes'])
        self.act(server, 'confirmResize')
        self.hear(server, 3)
        self.assertFalse(os.path.exists(f'{self.path(server)}_resize'))

        self.assertIn('disk', self.why_refused(
            server, 'resize', {'flavorRef': self.flavor}))
        self.hear(server, 3, disks={'vda': 2 << 30}, **harness.FLEXMEM)

        stock = self.make_flavor(disk=2, flexmem_policy='disabled')
        self.assertIn('disables it', self.why_refused(
            server, 'resize', {'flavorRef': stock}))
        self.hear(server, 3, **harness.FLEXMEM)
        self.delete(server)


class RawTest(ResizeTest):
    """The same with deltas that are raw files."""

    images_type = 'raw'
