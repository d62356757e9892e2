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


"""What can't be served, and what is served in the stock way."""

import os
import re

import fixtures

from nova import context
from nova import objects
from nova.tests import fixtures as nova_fixtures

from tests.lifecycle import harness
from tests.lifecycle import servers


class RefusalsTest(harness.NovaTestCase):

    def refused(self, **server):
        """Create a server that must fail; returns the reason."""
        created = self.create(**server)
        shown = self.wait_status(created, 'ERROR')
        self.wait(lambda: 'fault' in self.api.get_server(created['id']),
                  servers.ACTION_TIMEOUT_S, lambda: 'no fault')
        shown = self.api.get_server(created['id'])
        self.assert_nothing_left(created)
        self.api.delete_server(created['id'])
        return shown['fault']['message']

    def test_refused(self):
        self.assertIn('contradict', self.refused(
            image=self.add_image('witness', flexmem_policy='disabled')))
        self.assertIn('flexmem_policy=maybe', self.refused(
            image=self.add_image('witness', flexmem_policy='maybe')))
        self.assertIn('bus ide', self.refused(
            image=self.add_image('witness', hw_disk_bus='ide')))
        volume = nova_fixtures.CinderFixture.IMAGE_BACKED_VOL
        self.assertIn('boots from a volume', self.refused(
            imageRef='', block_device_mapping_v2=[{
                'boot_index': 0, 'uuid': volume, 'source_type': 'volume',
                'destination_type': 'volume'}]))
        self.assertEqual([], self.builds)


class StockTest(harness.NovaTestCase):
    """Servers without FlexMem, on a host that has it."""

    extra_specs: dict[str, str] = {}

    def test_preferred(self):
        flavor = self.make_flavor(flexmem_policy='preferred')
        server = self.boot(flavor=flavor, image=self.add_image(
            'witness', hw_disk_bus='ide'))
        self.hear(server, 1, **harness.STOCK)
        self.assertEqual(1, len(re.findall(
            'FlexMem is preferred, but .* bus ide',
            self.stdlog.logger.output)))
        self.assertNotIn('flexmem.json', os.listdir(self.path(server)))
        self.act(server, 'reboot', {'type': 'SOFT'})
        self.hear(server, 2, **harness.STOCK)

        # what QEMU itself refuses, of what it is asked for FlexMem
        self.useFixture(fixtures.MockPatch(
            'nova_flexmem.guest.device.nvdimm.Nvdimm.arguments',
            return_value=('-device', 'no-such-device')))
        late = self.boot(flavor=flavor)
        self.hear(late, 1, **harness.STOCK)
        self.assertNotIn('flexmem.json', os.listdir(self.path(late)))
        self.assertEqual([], [key for key in self.store.keys()
                              if late['id'] in self.users(key)])
        self.delete(server, late)

    def test_not_asked_for(self):
        server = self.boot()
        self.hear(server, 1, **harness.STOCK)
        self.assertNotIn('commandline', self.domain(server).XMLDesc())
        # earlier versions left a mark where a spawn had failed
        instance = objects.Instance.get_by_uuid(context.get_admin_context(),
                                                server['id'])
        instance.system_metadata['flexmem_base_image'] = self.image
        instance.save()
        self.act(server, 'suspend', until='SUSPENDED')
        self.act(server, 'resume')
        instance.refresh()
        self.assertNotIn('flexmem_base_image', instance.system_metadata)
        self.hear(server, 1, **harness.STOCK)
        copy = self.boot(image=self.snapshot(server))
        self.hear(copy, 2, **harness.STOCK)

        # it stays what it is, whatever the host gives to new ones by now
        self.flags(shelved_offload_time=0)
        self.flags(default_policy='preferred', group='flexmem')
        self.act(server, 'shelve', until='SHELVED_OFFLOADED')
        self.act(server, 'unshelve')
        self.hear(server, 2, **harness.STOCK)
        self.assertEqual([], self.builds)
        self.delete(server, copy)


class DefaultPolicyTest(harness.NovaTestCase):
    """A host that gives FlexMem to all that can have it."""

    extra_specs: dict[str, str] = {}
    flexmem = {'default_policy': 'preferred', 'device': 'virtio-pmem'}

    def test_default(self):
        server = self.boot()
        self.hear(server, 1, **harness.FLEXMEM)
        self.assertIn('virtio-pmem', self.domain(server).XMLDesc())
        self.act(server, 'reboot', {'type': 'SOFT'})
        self.hear(server, 2, **harness.FLEXMEM)

        # it stays what it was, whatever the defaults are by then
        self.flags(shelved_offload_time=0)
        self.act(server, 'shelve', until='SHELVED_OFFLOADED')
        self.flags(default_policy='disabled', default_writes='memory',
                   group='flexmem')
        self.act(server, 'unshelve')
        self.hear(server, 3, **harness.FLEXMEM)
        self.delete(server)
