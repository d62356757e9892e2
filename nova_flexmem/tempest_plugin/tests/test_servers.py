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

"""The life of a FlexMem server, as its owner sees it."""

from tempest.common import waiters
from tempest import config
from tempest.lib.common.utils import data_utils
from tempest.lib.common.utils import test_utils
from tempest.lib import decorators

from nova_flexmem.tempest_plugin.tests import base

CONF = config.CONF


class ServersTest(base.FlexMemTestCase):

    @decorators.attr(type='smoke')
    @decorators.idempotent_id('6c1c9a3e-0b0f-4c7b-9d57-a3e5f4d1c201')
    def test_boot(self):
        server_id = self.boot()
        self.assert_flexmem(self.wait_guest(server_id, boots=1))

    @decorators.idempotent_id('0f3b2f2c-6a1e-4a86-8f7d-2d1c5b7e9a44')
    def test_writes_persist_over_a_hard_reboot(self):
        server_id = self.start()
        self.servers.reboot_server(server_id, type='HARD')
        waiters.wait_for_server_status(self.servers, server_id, 'ACTIVE')
        self.assert_flexmem(self.wait_guest(server_id, boots=2))

    @decorators.idempotent_id('d7e08b5a-3a5f-4f0e-b1c6-7b5a4c9d0e13')
    def test_snapshot(self):
        server_id = self.start()
        snapshot_id = self.snapshots.create_image(
            server_id, name=data_utils.rand_name(
                'flexmem', prefix=CONF.resource_name_prefix))['image_id']
        self.addCleanup(self.images.wait_for_resource_deletion, snapshot_id)
        self.addCleanup(test_utils.call_and_ignore_notfound_exc,
                        self.images.delete_image, snapshot_id)
        waiters.wait_for_image_status(self.images, snapshot_id, 'active')
        image = self.images.show_image(snapshot_id)
        self.assertEqual(CONF.flexmem.image_ref or CONF.compute.image_ref,
                         image['flexmem_base_image'])
        waiters.wait_for_server_status(self.servers, server_id, 'ACTIVE')
        self.assertEqual(1, self.wait_guest(server_id, boots=1).boots)
        copy_id = self.boot(image_id=snapshot_id)
        # what the first server wrote is there
        self.assert_flexmem(self.wait_guest(copy_id, boots=2))

    @decorators.idempotent_id('8a5d4a0b-91c4-4f57-9a0f-5f1e2b3c6d77')
    def test_resize(self):
        if not CONF.flexmem.flavor_ref_alt:
            raise self.skipException('[flexmem] flavor_ref_alt is not set')
        server_id = self.boot()
        before = self.wait_guest(server_id, boots=1)
        self.servers.resize_server(server_id, CONF.flexmem.flavor_ref_alt)
        waiters.wait_for_server_status(self.servers, server_id,
                                       'VERIFY_RESIZE')
        after = self.wait_guest(server_id, boots=2)
        self.assert_flexmem(after)
        self.assertGreater(after.root_bytes, before.root_bytes)
        self.servers.confirm_resize_server(server_id)
        waiters.wait_for_server_status(self.servers, server_id, 'ACTIVE')


class LiveMigrationTest(base.FlexMemTestCase):

    @classmethod
    def skip_checks(cls):
        super().skip_checks()
        if CONF.compute.min_compute_nodes < 2:
            raise cls.skipException('needs two hosts, see [compute]'
                                    ' min_compute_nodes')

        if not CONF.compute_feature_enabled.live_migration:
            raise cls.skipException('live migration is not enabled, see'
                                    ' [compute-feature-enabled]')

    @decorators.idempotent_id('f2c47d1e-5b0a-4a39-8c4e-1e9d7a6b3f58')
    def test_live_migration(self):
        server_id = self.start()
        host = self.host_of(server_id)
        self.admin_servers.live_migrate_server(
            server_id, host=None, block_migration='auto')
        waiters.wait_for_server_status(self.servers, server_id, 'ACTIVE')
        self.assertNotEqual(host, self.host_of(server_id))
        # it has not been started anew by then, and works
        self.servers.reboot_server(server_id, type='SOFT')
        waiters.wait_for_server_status(self.servers, server_id, 'ACTIVE')
        self.assert_flexmem(self.wait_guest(server_id, boots=2))
