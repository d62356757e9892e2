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

import os
import types

import fixtures
import testtools

import nova.conf

from nova_flexmem.virt import moves

CONF = nova.conf.CONF


class UsersHereTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.addCleanup(CONF.clear_override, 'instances_path')
        CONF.set_override('instances_path', self.folder)

    def is_here(self, **fields):
        instance = types.SimpleNamespace(**{
            'uuid': 'one', 'host': CONF.host, 'vm_state': 'active',
            'task_state': None} | fields)
        return moves.users_here([instance])('one')

    def test_instances_of_this_host(self):
        self.assertTrue(self.is_here())
        self.assertTrue(self.is_here(vm_state='error'))

    def test_on_disks_that_other_hosts_share(self):
        os.mkdir(os.path.join(self.folder, 'one'))
        self.assertFalse(self.is_here(host='another'))
        # on their way, or there to be reverted to
        self.assertTrue(self.is_here(host='another', vm_state='resized'))
        self.assertTrue(self.is_here(host='another', task_state='rebuilding'))

    def test_what_nova_does_not_name(self):
        is_here = moves.users_here([])
        self.assertFalse(is_here('two'))
        for suffix in ('', '_resize', '_del'):
            path = os.path.join(self.folder, f'two{suffix}')
            os.mkdir(path)
            self.assertTrue(is_here('two'))
            os.rmdir(path)
