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


"""What goes to Glance and comes from there."""

import os

from nova import context
from nova import objects

from tests.lifecycle import harness
from tests.lifecycle import servers


class RebuildTest(harness.NovaTestCase):

    def test_rebuild(self):
        server = self.boot()
        self.hear(server, 1, **harness.FLEXMEM)
        self.act(server, 'reboot', {'type': 'HARD'})
        self.hear(server, 2)
        key = self.base_key(server)

        # as a stock server, it begins anew
        self.act(server, 'rebuild', {'imageRef': self.image})
        self.hear(server, 1, **harness.FLEXMEM)
        self.assertEqual(key, self.base_key(server))

        other = self.add_image('other')
        self.api.post_server_action(server['id'],
                                    {'rebuild': {'imageRef': other}})
        self.wait_status(server, 'ACTIVE', servers.BUILD_TIMEOUT_S)
        self.hear(server, 1, **harness.FLEXMEM, image='other')
        self.assertNotEqual(key, self.base_key(server))

        # what can't be built leaves the server as it was
        held = self.allocations(server)
        self.assertNotEqual({}, held)
        broken = self.add_image('other', flexmem_policy='disabled',
                                kernel_id=self.image, hw_disk_bus='ide')
        before = self.noted(server)
        self.assertIn('contradict', self.why_refused(
            server, 'rebuild', {'imageRef': broken}))
        self.assertEqual(before, self.noted(server))
        self.assertEqual(held, self.allocations(server))
        self.hear(server, 1, image='other')
        self.act(server, 'reboot', {'type': 'HARD'})
        self.hear(server, 2, **harness.FLEXMEM, image='other')
        self.delete(server)

    def noted(self, server):
        """Return what Nova notes of a server's image."""
        admin = context.get_admin_context()
        instance = objects.Instance.get_by_uuid(admin, server['id'])
        request = objects.RequestSpec.get_by_instance_uuid(admin,
                                                           server['id'])
        return (instance.image_ref, instance.kernel_id, instance.os_type,
                request.image.id,
                {key: value for key, value in instance.system_metadata.items()
                 if key.startswith('image_')})

    def allocations(self, server):
        """Return what a server holds in Placement: {provider: resources}."""
        found = self.compute.manager.reportclient.get_allocs_for_consumer(
            context.get_admin_context(), server['id'])
        return {provider: each['resources'] for provider, each
                in found['allocations'].items()}


class RescueTest(harness.NovaTestCase):

    def test_rescue(self):
        server = self.boot()
        self.hear(server, 1, **harness.FLEXMEM)
        self.act(server, 'rescue', {}, until='RESCUE')
        self.hear(server, 1, **harness.STOCK, disks=lambda disks: (
            len(disks) == 3), seen=lambda seen: sorted(seen.values()) == [
                'base:witness', 'delta:1'])
        self.act(server, 'unrescue')
        self.hear(server, 2, **harness.FLEXMEM)
        self.delete(server)


class ShelveTest(harness.NovaTestCase):

    def test_shelve(self):
        self.flags(shelved_offload_time=0)
        server = self.boot()
        self.hear(server, 1, **harness.FLEXMEM)
        key = self.base_key(server)
        self.act(server, 'shelve', until='SHELVED_OFFLOADED')
        self.assert_nothing_left(server)
        # its delta boots on the root filesystem alone that it was made on
        self.flags(rootfs='ext4', group='flexmem')
        self.act(server, 'unshelve')
        self.hear(server, 2, **harness.FLEXMEM)
        self.assertEqual(key, self.base_key(server))
        self.act(server, 'reboot', {'type': 'HARD'})
        self.hear(server, 3, **harness.FLEXMEM)
        self.delete(server)


class SnapshotTest(harness.NovaTestCase):

    def test_snapshot_of_snapshot(self):
        server = self.boot()
        self.hear(server, 1, **harness.FLEXMEM)
        key = self.base_key(server)
        builds = len(self.builds)

        snapshot = self.snapshot(server)
        self.hear(server, 1)
        self.assertLess(os.path.getsize(self.glance.files[snapshot]),
                        os.path.getsize(self.glance.files[self.image]))
        second = self.boot(image=snapshot)
        self.hear(second, 2, **harness.FLEXMEM)

        deeper = self.snapshot(second)
        third = self.boot(image=deeper)
        self.hear(third, 3, **harness.FLEXMEM)

        # all of them share the pages of the one base
        self.assertEqual({key}, {self.base_key(one)
                                 for one in (server, second, third)})
        self.assertEqual(builds, len(self.builds))

        self.act(second, 'reboot', {'type': 'HARD'})
        self.hear(second, 3, **harness.FLEXMEM)
        self.delete(server, second, third)
