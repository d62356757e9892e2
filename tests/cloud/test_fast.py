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

"""A server's life on two hosts, in a few minutes: part of `make test`."""

import os

from openstack import exceptions as sdk_exceptions

from tests.cloud import harness
from tools.cloud import layout


class FastTest(harness.CloudTestCase):

    def test_both_hosts_report_the_trait(self):
        placement = self.connection.placement
        providers = placement.get('/resource_providers').json()
        traits = {each['name']: placement.get(
            f'/resource_providers/{each["uuid"]}/traits',
            microversion='1.6').json()['traits']
            for each in providers['resource_providers']}
        self.assertEqual(set(layout.NODES), {
            name for name, each in traits.items()
            if 'CUSTOM_FLEXMEM' in each})

    def test_api_refuses_a_bad_extra_spec(self):
        flavor_id = self.flavor()
        path = f'/flavors/{flavor_id}/os-extra_specs'
        for name, value, reason in (
                ('flexmem:policy', 'bogus', "'bogus' is not one of"),
                ('flexmem:writes', 'paper', "'paper' is not one of"),
                ('flexmem:colour', 'red', 'not appear to be a valid')):
            error = self.assertRaises(
                sdk_exceptions.BadRequestException, self.call, 'POST', path,
                json={'extra_specs': {name: value}})
            self.assertIn(reason, str(error))
        self.assertEqual(harness.REQUIRED,
                         self.call('GET', path)['extra_specs'])

    def test_boot_migrate_delete(self):
        server_id = self.start_flexmem(self.image())
        source = self.host_of(server_id)
        self.assertNotEqual(0, os.stat(
            f'/proc/{self.hosts.qemu(server_id)}').st_uid)  # no privileges
        self.act(server_id, 'migrate')
        self.wait(server_id, 'VERIFY_RESIZE')
        target = self.host_of(server_id)
        self.assertNotEqual(source, target)
        self.assert_flexmem(self.wait_guest(server_id, boot=2), boot=2)
        self.assertEqual(*(self.hosts.base_of(server_id, node)
                           for node in layout.NODES))
        self.act(server_id, 'confirmResize')
        self.wait(server_id, 'ACTIVE')
        self.assertEqual([], [path for path in self.hosts.left(server_id)
                              if source in path])
        self.delete(server_id)
        self.assert_nothing_left(server_id)
