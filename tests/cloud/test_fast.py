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
import pwd
import stat

from openstack import exceptions as sdk_exceptions

from nova_flexmem import exception
from nova_flexmem import process
from nova_flexmem.store import basefiles
from tests.cloud import harness
from tests.cloud import processes
from tools.cloud import account
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

    def test_life_of_a_server(self):
        computes = [self.cloud.services[f'nova-compute-{node}'].pid
                    for node in layout.NODES]
        with processes.Watch(computes) as watch:
            server_id = self.start_flexmem(self.image('fast', anew=True))
            self._check_qemu(server_id)
            self.act(server_id, 'reboot', {'type': 'HARD'})
            self.wait(server_id, 'ACTIVE')
            self.assert_flexmem(self.wait_guest(server_id, boot=2), boot=2)
            self._check_qemu(server_id)
            self._snapshot(server_id)
            self._migrate(server_id)
            self.delete(server_id)
            self.assert_nothing_left(server_id)
        self._check_users(watch)

    def _snapshot(self, server_id):
        body = self.call('POST', f'/servers/{server_id}/action',
                         json={'createImage': {'name': 'snapshot'}})
        glance = self.connection.image
        self.addCleanup(glance.delete_image, body['image_id'])
        self.wait(server_id, 'ACTIVE')
        snapshot = glance.get_image(body['image_id'])
        self.assertEqual('active', snapshot.status)
        self.assertLess(0, snapshot.size)

    def _migrate(self, server_id):
        source = self.host_of(server_id)
        self.act(server_id, 'migrate')
        self.wait(server_id, 'VERIFY_RESIZE')
        target = self.host_of(server_id)
        self.assertNotEqual(source, target)
        self.assert_flexmem(self.wait_guest(server_id, boot=3), boot=3)
        self.assertEqual(*(self.hosts.base_of(server_id, node)
                           for node in layout.NODES))
        self.act(server_id, 'confirmResize')
        self.wait(server_id, 'ACTIVE')
        self.assertEqual([], [path for path in self.hosts.left(server_id)
                              if source in path])

    def _check_qemu(self, server_id):
        """Check that QEMU cannot write to the base, by itself."""
        node = self.host_of(server_id)
        base = self.hosts.base(server_id, node)
        for path in (base.path, *map(base.file, base.manifest.files)):
            status = os.stat(path)
            self.assertEqual(
                (account.ID, account.ID,
                 0o755 if path == base.path else 0o444),
                (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)),
                path)
        qemu = processes.of(self.hosts.qemu(server_id))
        self.assertEqual(0, qemu.capabilities)
        self.assertFalse({0, account.ID} & set(qemu.user_ids), qemu)
        user = pwd.getpwuid(qemu.user_ids[0])
        error = self.assertRaises(
            exception.ProgramFailed, process.run, 'setpriv',
            f'--reuid={user.pw_uid}', f'--regid={user.pw_gid}',
            '--init-groups', '--', 'sh', '-c', 'exec 3>> "$0"',
            base.file(basefiles.ROOT_PMEM), timeout_s=30)
        self.assertIn('ermission denied', str(error))

    def _check_users(self, watch):
        """Check that nova-compute's processes were an ordinary user's."""
        for program in ('bin/nova-compute', 'nova_flexmem.virt.worker',
                        'guestfish', 'qemu-system-x86_64', 'ssh'):
            self.assertTrue(watch.running(program), program)
        sudo = {each for each in watch.seen if each.is_sudo}
        for each in watch.seen - sudo:
            self.assertEqual({account.ID}, set(each.user_ids), each)
            self.assertEqual(0, each.capabilities, each)
        for each in sudo:
            self.assertTrue(each.command.startswith(
                f'sudo nova-rootwrap {self.cloud.layout.rootwrap_conf}'
                ' privsep-helper '), each)
