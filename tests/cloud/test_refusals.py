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

"""What is refused, and that whoever asked gets to know why."""

import os
import uuid

import openstack

from nova_flexmem.host import hugepages
from nova_flexmem.host import ksm
from tests.cloud import harness
from tools.cloud import layout


class OtherProjectTest(harness.CloudTestCase):
    """An ordinary user, with a project of her own."""

    def setUp(self):
        super().setUp()
        self.user = self._new_user()

    def test_user_boots_her_own_image(self):
        server_id = self.boot(self.image('hers', self.user, anew=True),
                              connection=self.user)
        self.wait(server_id, 'ACTIVE')
        self.assert_flexmem(self.wait_guest(server_id), boot=1)

    def test_forged_snapshot_opens_no_image(self):
        private_id = self.image('private', anew=True, visibility='private')
        victim = self.start_flexmem(private_id)
        manifest = self._manifest(victim)
        forged_id = self.image(
            connection=self.user, anew=True,
            **{'flexmem_base_image': private_id,
               'flexmem_base_sha256': manifest.image_sha256,
               'flexmem_policy': 'required',
               'trait:CUSTOM_FLEXMEM': 'required'})
        server_id = self.boot(forged_id, connection=self.user)
        server = self.wait(server_id, 'ERROR')
        fault = self.show(server_id, self.user)['fault']
        self.assertIn('does not exist or is not yours', fault['message'],
                      server)
        self.delete(server_id)
        self.assert_nothing_left(server_id)

    def _manifest(self, server_id):
        return self.hosts.base(server_id, self.host_of(server_id)).manifest

    def _new_user(self):
        """Return a connection as a new user, a member of a new project."""
        identity = self.connection.identity
        name = f'test-{uuid.uuid4().hex}'
        project = identity.create_project(name=name, domain_id='default')
        self.addCleanup(identity.delete_project, project)
        user = identity.create_user(name=name, password=name,
                                    domain_id='default')
        self.addCleanup(identity.delete_user, user)
        identity.assign_project_role_to_user(
            project, user, identity.find_role('member'))
        connection = openstack.connection.Connection(
            auth={'auth_url': layout.url('keystone', '/v3'), 'username': name,
                  'password': name, 'project_name': name,
                  'user_domain_id': 'default', 'project_domain_id': 'default'},
            region_name='RegionOne')
        self.addCleanup(connection.close)
        return connection


class StatusTest(harness.CloudTestCase):

    def setUp(self):
        super().setUp()
        path = os.path.join(hugepages.FOLDER, hugepages.MAX_FILLED)
        if hugepages.max_filled_pages():
            with open(path, encoding='ascii') as f:
                self.addCleanup(self._write, path, f.read())
            self._write(path, '0')

    def _write(self, path, text):
        with open(path, 'w', encoding='ascii') as f:
            f.write(text)

    def test_upgrade_check_passes_on_both_hosts(self):
        for node in layout.NODES:
            self.assertIsNone(self._check(node), node)

    def test_upgrade_check_tries_the_helper_that_switches_ksm(self):
        if ksm.counters().run == 1:
            self.skipTest('KSM is on already, for somebody else')
        conf = self.hosts.path('node1', 'etc', 'ksm.conf')
        self.addCleanup(os.unlink, conf)
        with open(conf, 'w', encoding='ascii') as f:
            f.write('[flexmem]\nksm = after_boot\n')
        inside = os.path.join(
            os.path.dirname(self.cloud.layout.compute_conf), 'ksm.conf')
        self.assertIsNone(self._check('node1', inside))
        # a root helper that sudo does not let the user run
        with open(conf, 'a', encoding='ascii') as f:
            f.write('[DEFAULT]\nrootwrap_config = /etc/nova/other.conf\n')
        said = self._check('node1', inside).replace('|', ' ')  # a table
        self.assertIn('privsep-helper cannot be run as root',
                      ' '.join(said.split()))

    def _check(self, node, *configuration):
        """Run the check as nova-compute's user; return what is wrong."""
        files = (self.cloud.layout.compute_conf, *configuration)
        return self.hosts.run(
            node, 'nova-flexmem-status',
            *(f'--config-file={path}' for path in files), 'upgrade', 'check')
