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

"""Credentials in nova.conf: Keystone is played, Glance is real."""

import os
import uuid

import fixtures
from keystoneauth1 import fixture as ks_fixture
from oslo_config import cfg
import requests_mock
import testtools

from nova_flexmem import exception
from nova_flexmem import glanceconf
from nova_flexmem.publish import glance as glance_module
from nova_flexmem.publish import inventory
from tests import glance_server

_URL = 'http://127.0.0.1:1/v3'
_NOVA = 'http://127.0.0.1:1/v2.1'

_SECTION = f"""
auth_type = password
auth_url = {_URL}
username = nova
password = secret
project_name = service
user_domain_id = default
project_domain_id = default
region_name = here
"""


class CredentialsTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.mock = requests_mock.Mocker(real_http=True)
        self.mock.start()
        self.addCleanup(self.mock.stop)

    def play(self, suffix='', role='admin', images=True):
        """Have Keystone answer.

        :param suffix: of Glance's address in the catalogue
        """
        token = ks_fixture.V3Token(project_id='project', project_name='x')
        token.add_role(name=role)
        if images:
            self.add(token, 'image', glance_server.server().url + suffix)
        self.add(token, 'compute', _NOVA)
        self.mock.get(_URL, json={'version': ks_fixture.V3Discovery(_URL)})
        self.mock.post(f'{_URL}/auth/tokens', json=token, headers={
            # what the real Glance takes for a token
            'X-Subject-Token': f'nova:project:{role}'})

    @staticmethod
    def add(token, kind, url):
        token.add_service(kind).add_standard_endpoints(
            public='http://127.0.0.1:3', internal=url, region='here')
        # one of another region
        token.add_service(kind).add_standard_endpoints(
            public='http://127.0.0.1:2', region='there')

    def conf(self, text=f'[{glanceconf.GROUP}]{_SECTION}'):
        path = os.path.join(self.useFixture(fixtures.TempDir()).path, 'conf')
        with open(path, 'w') as f:
            f.write(text)
        conf = cfg.ConfigOpts()
        conf([f'--config-file={path}'], project='nova',
             default_config_files=[], default_config_dirs=[])
        glanceconf.register_opts(conf)
        return conf

    def test_glance(self):
        for suffix in ('', '/', '/v2', '/v2/'):
            self.play(suffix)
            connected = glance_module.Glance.from_conf(self.conf())
            self.assertEqual('project', connected.project_id)
            image = connected.create('x', {'test': 'credentials'})
            self.assertEqual([image.id], [
                each.id for each in connected.list(test='credentials')])
            connected.delete(image.id)

    def test_another_section(self):
        self.play()
        connected = glance_module.Glance.from_conf(self.conf(
            f'[placement]{_SECTION}[{glanceconf.GROUP}]\n'
            'auth_section = placement\nregion_name = here\n'))
        self.assertEqual([], connected.list(test='credentials'))

    def test_no_glance_in_the_catalogue(self):
        self.play(images=False)
        e = self.assertRaises(exception.PublishFailed,
                              glance_module.Glance.from_conf, self.conf())
        self.assertIn('endpoint for image service in here region', str(e))

    def test_servers(self):
        self.play()
        servers = inventory.Servers.from_conf(self.conf())
        image_id = str(uuid.uuid4())
        for found in ([], [{'id': 'a'}]):
            asked = self.mock.get(f'{_NOVA}/servers', json={'servers': found})
            self.assertEqual(bool(found), servers.are_made_from(image_id))
            self.assertEqual({'all_tenants': ['1'], 'image': [image_id],
                              'limit': ['1']}, asked.last_request.qs)
        self.mock.get(f'{_NOVA}/servers', status_code=500)
        self.assertRaises(exception.PublishFailed, servers.are_made_from,
                          image_id)

    def test_only_an_administrator_sees_all_servers(self):
        self.play(role='member')
        e = self.assertRaises(exception.PublishFailed,
                              inventory.Servers.from_conf, self.conf())
        self.assertIn('the role admin', str(e))
