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


"""Flavors that are not small."""

from tests.lifecycle import harness


class LargeTest(harness.NovaTestCase):

    def test_ram_above_4_gib(self):
        # Nova's default is machine type pc, and the config drive an IDE CD,
        # whose controller reaches no memory above 4 GiB
        server = self.boot(flavor=self.make_flavor(
            ram=6144, **harness.REQUIRED), config_drive=True)
        status = self.hear(server, 1, **harness.FLEXMEM,
                           config_drive=server['id'])
        self.assertGreater(status['ram_bytes'], 5 << 30)
        self.delete(server)
