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

"""That servers on a host share the memory of their base."""

from tempest import config
from tempest.lib import decorators

from nova_flexmem.tempest_plugin import host as compute_host
from nova_flexmem.tempest_plugin.tests import base

CONF = config.CONF


class SharingTest(base.FlexMemTestCase):

    @classmethod
    def skip_checks(cls):
        super().skip_checks()
        if not CONF.flexmem.host_command:
            raise cls.skipException('[flexmem] host_command is not set')

    @decorators.idempotent_id('b58c1d0e-7f36-4a1b-9a8e-60d2c3f4e519')
    def test_two_servers_map_one_base(self):
        # the administrator may ask for a host, and both must be of a project
        first_id = self.boot(client=self.admin_servers)
        host_name = self.host_of(first_id)
        second_id = self.boot(client=self.admin_servers, host=host_name)
        names = []
        for server_id in (first_id, second_id):
            self.assert_flexmem(self.wait_guest(
                server_id, boots=1, client=self.admin_servers))
            server = self.admin_servers.show_server(server_id)['server']
            names.append(server['OS-EXT-SRV-ATTR:instance_name'])
        host = compute_host.Host(CONF.flexmem.host_command, host_name)
        first, second = (compute_host.base_options(host.domain(name))
                         for name in names)
        self.assertEqual(('on', 'on'), (first['readonly'], first['share']))
        self.assertEqual(first, second)
        mappings = [host.mapping(name, first['mem-path']) for name in names]
        self.assertEqual(mappings[0].file, mappings[1].file)
        for mapping in mappings:
            self.assertEqual('r--s', mapping.mode)
            self.assertEqual(0, mapping.dirty_kib)
            # one copy in memory of what both have read
            self.assertGreater(mapping.shared_kib, mapping.resident_kib // 2)
