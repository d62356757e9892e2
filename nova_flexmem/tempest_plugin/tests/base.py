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

"""What the tests share: servers whose guests say what they run from."""

import time

from tempest.common import waiters
from tempest import config
from tempest.lib.common import api_microversion_fixture
from tempest.lib.common import api_version_utils
from tempest.lib.common.utils import data_utils
from tempest.lib.common.utils import test_utils
from tempest.lib import exceptions
from tempest import test

from nova_flexmem.tempest_plugin import guest

CONF = config.CONF


class FlexMemTestCase(api_version_utils.BaseMicroversionTest,
                      test.BaseTestCase):
    """Has clients of an ordinary user and of the administrator."""

    credentials = ['primary', 'admin']

    #: Details of an action's events
    min_microversion = '2.84'

    @classmethod
    def skip_checks(cls):
        super().skip_checks()
        if not (CONF.service_available.nova and CONF.service_available.glance):
            raise cls.skipException('needs Nova and Glance')
        if not CONF.flexmem.flavor_ref:
            raise cls.skipException('[flexmem] flavor_ref is not set')
        api_version_utils.check_skip_with_microversion(
            cls.min_microversion, cls.max_microversion,
            CONF.compute.min_microversion, CONF.compute.max_microversion)

    @classmethod
    def setup_credentials(cls):
        cls.set_network_resources()  # none
        super().setup_credentials()

    @classmethod
    def setup_clients(cls):
        super().setup_clients()
        cls.servers = cls.os_primary.servers_client
        cls.admin_servers = cls.os_admin.servers_client
        cls.snapshots = cls.os_primary.compute_images_client
        cls.images = cls.os_primary.image_client_v2

    def setUp(self):
        super().setUp()
        self.useFixture(api_microversion_fixture.APIMicroversionFixture(
            compute_microversion=self.min_microversion))

    def boot(self, client=None, image_id=None, **server):
        """Boot a server and wait until it is active; return its id."""
        client = client or self.servers
        created = client.create_server(
            name=data_utils.rand_name(
                'flexmem', prefix=CONF.resource_name_prefix),
            imageRef=image_id or (CONF.flexmem.image_ref or
                                  CONF.compute.image_ref),
            flavorRef=CONF.flexmem.flavor_ref, networks='none',
            config_drive=True, user_data=guest.user_data(), **server)['server']
        self.addCleanup(waiters.wait_for_server_termination, client,
                        created['id'])
        self.addCleanup(test_utils.call_and_ignore_notfound_exc,
                        client.delete_server, created['id'])
        waiters.wait_for_server_status(client, created['id'], 'ACTIVE')
        return created['id']

    def wait_guest(self, server_id, boots, client=None):
        """Wait until a guest has started for the Nth time.

        :returns: its guest.Status
        """
        client = client or self.servers
        deadline = time.monotonic() + CONF.compute.build_timeout
        while True:
            console = client.get_console_output(server_id)['output']
            status = guest.status(console)
            if status and status.boots == boots:
                return status
            if time.monotonic() > deadline:
                raise exceptions.TimeoutException(
                    f'server {server_id}: {status} instead of boot {boots}'
                    f' after {CONF.compute.build_timeout} s; its console'
                    f' ends: {console[-2000:]}')
            time.sleep(CONF.compute.build_interval)

    def assert_flexmem(self, status):
        """Check that a guest runs from a base, with DAX."""
        self.assertEqual('overlay', status.root, status)
        self.assertIn(status.lower, ('erofs', 'ext4'), status)
        self.assertTrue(status.dax, status)

    def start(self, **kwargs):
        """Boot a server and wait for its guest; return its id."""
        server_id = self.boot(**kwargs)
        self.assert_flexmem(self.wait_guest(server_id, boots=1))
        return server_id

    def host_of(self, server_id):
        """Return the name of the host that a server is on."""
        server = self.admin_servers.show_server(server_id)['server']
        return server['OS-EXT-SRV-ATTR:host']
