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

from nova.compute import provider_tree
from oslo_utils import uuidutils

from nova_flexmem import exception
from nova_flexmem.virt import hosttraits
from nova_flexmem.virt import layered
from nova_flexmem.virt import moves
from tests.unit.virt import driver_test

RBD = 'CUSTOM_FLEXMEM_RBD'


class ReportTest(driver_test.DriverTest):

    def test_where_root_disks_are(self):
        tree = provider_tree.ProviderTree()
        tree.new_root('node', uuidutils.generate_uuid())
        for images_type, fit, traits in (
                ('rbd', True, {layered.TRAIT, RBD}),
                ('rbd', False, set()),
                ('rbd', True, {layered.TRAIT, RBD}),
                ('qcow2', True, {layered.TRAIT})):
            self.flags(images_type=images_type, group='libvirt')
            hosttraits.report(tree, 'node', fit)
            self.assertEqual(traits, tree.data('node').traits)


class MovesTest(driver_test.DriverTest):

    def setUp(self):
        super().setUp()
        self.stub_out('nova.objects.Migration.get_by_id',
                      lambda *_args: driver_test.mock.Mock(
                          dest_node='other', dest_compute='other'))
        self.client = self.driver.virtapi.reportclient
        self.client.get_provider_by_name.return_value = {'uuid': 'other'}

    def check(self, *traits):
        self.client.get_provider_traits.return_value = driver_test.mock.Mock(
            traits=set(traits))
        moves._check_host(self.context, self.client, 1)

    def test_cold_migration_needs_disks_of_the_same_kind(self):
        for images_type, traits, others in (
                ('rbd', (RBD,), ()), ('qcow2', (), (RBD,)),
                ('raw', (), (RBD,))):
            self.flags(images_type=images_type, group='libvirt')
            self.check(layered.TRAIT, *traits)
            e = self.assertRaises(exception.InstanceRefused, self.check,
                                  layered.TRAIT, *others)
            self.assertIn('images_type', str(e))
            e = self.assertRaises(exception.InstanceRefused, self.check,
                                  *traits)
            self.assertIn('cannot run FlexMem', str(e))
