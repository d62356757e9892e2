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


"""Starting and stopping, by the user, by Nova and by the host."""

from nova_flexmem import exception
from tests.lifecycle import harness


class PowerTest(harness.NovaTestCase):

    def test_user(self):
        server = self.boot(flavor=self.make_flavor(
            ephemeral=1, swap=64, **harness.REQUIRED), config_drive=True)
        first = self.hear(
            server, 1, **harness.FLEXMEM, config_drive=server['id'],
            disks=lambda disks: list(disks) == ['vda', 'vdb', 'vdc'],
            seen={'vdb': 'vfat:1', 'vdc': 'swap'},
            swap_bytes=lambda size: 63 << 20 < size <= 64 << 20)

        self.act(server, 'reboot', {'type': 'SOFT'})
        self.hear(server, 2, **harness.FLEXMEM, config_drive=server['id'],
                  seen={'vdb': 'vfat:2', 'vdc': 'swap'},
                  root_bytes=first['root_bytes'])
        self.act(server, 'reboot', {'type': 'HARD'})
        self.hear(server, 3, **harness.FLEXMEM, config_drive=server['id'],
                  seen={'vdb': 'vfat:3', 'vdc': 'swap'})

        self.act(server, 'os-stop', until='SHUTOFF')
        # the guest has shut itself down
        self.assertIn('power button', self.console(server))
        self.act(server, 'os-start')
        self.hear(server, 4, **harness.FLEXMEM)

        self.act(server, 'pause', until='PAUSED')
        self.act(server, 'unpause')
        self.hear(server, 4)

        shown = self.api.post_server_action(
            server['id'], {'os-getConsoleOutput': {'length': 50}})
        self.assertIn('WITNESS {"image":"witness"', shown['output'])

        self.delete(server)

    def test_suspend(self):
        server = self.boot()
        self.hear(server, 1, **harness.FLEXMEM)
        key = self.base_key(server)

        self.act(server, 'suspend', until='SUSPENDED')
        self.assertFalse(self.domain(server).isActive())
        self.restart_compute()
        self.wait_status(server, 'SUSPENDED')
        self.assertEqual(key, self.base_key(server))
        self.assertRaises(exception.BaseInUse, self.store.remove, key)
        self.act(server, 'resume')
        # it goes on, and its files are whole
        self.hear(server, 1, **harness.FLEXMEM)
        self.act(server, 'suspend', until='SUSPENDED')
        self.act(server, 'resume')
        self.hear(server, 1)
        self.act(server, 'reboot', {'type': 'HARD'})
        self.hear(server, 2, **harness.FLEXMEM)

        # Nova saves its memory, takes the snapshot, and goes on
        self.flags(disable_libvirt_livesnapshot=True, group='workarounds')
        self.snapshot(server)
        self.hear(server, 2)
        self.delete(server)

    def test_host(self):
        server = self.boot()
        self.hear(server, 1, **harness.FLEXMEM)

        self.restart_compute()
        self.hear(server, 1)

        self.flags(resume_guests_state_on_host_boot=True)
        self.domain(server).destroy()  # as when the host lost its power
        self.restart_compute()
        self.wait_status(server, 'ACTIVE')
        self.hear(server, 2, **harness.FLEXMEM)

        # Nova's own record of the server may be all that is left of it
        self.domain(server).destroy()
        self.domain(server).undefine()
        self.act(server, 'reboot', {'type': 'HARD'})
        self.hear(server, 3, **harness.FLEXMEM)
        self.delete(server)
