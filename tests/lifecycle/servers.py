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


"""What tests do with servers, and how they learn what came of it."""

import os
import time

import libvirt

import nova.conf

from nova_flexmem.store import basestore
from tests.witness import witness

CONF = nova.conf.CONF

#: Seconds, generous because TCG on a busy host is slow.
BUILD_TIMEOUT_S = 900
BOOT_TIMEOUT_S = 900
ACTION_TIMEOUT_S = 900

_POLL_S = 0.5


class Servers:
    """Part of a test case: asks Nova for things, and waits for them."""

    def make_flavor(self, ram=256, disk=1, ephemeral=0, swap=0, **specs):
        """Make a flavor; returns its id.

        :param ram: MiB, and swap too; the others are GiB
        :param specs: extra specs instead of the class's, their first _ as :
        """
        specs = {name.replace('_', ':', 1): value
                 for name, value in specs.items()} or self.extra_specs
        return self._create_flavor(
            memory_mb=ram, vcpu=1, disk=disk, ephemeral=ephemeral, swap=swap,
            extra_spec=specs)

    def create(self, image=None, flavor=None, **server):
        """Ask for a server; returns it as the API does."""
        return self.api.post_server({'server': {
            'name': 'witness', 'imageRef': image or self.image,
            'flavorRef': flavor or self.flavor, 'networks': 'none'} | server})

    def boot(self, image=None, flavor=None, **server):
        """Create a server, and wait until it is active."""
        return self.wait_status(self.create(image, flavor, **server),
                                'ACTIVE', BUILD_TIMEOUT_S)

    def act(self, server, action, argument=None, until='ACTIVE'):
        """Have Nova do something with a server, and wait for its status."""
        self.api.post_server_action(server['id'], {action: argument})
        return self.wait_status(server, until)

    def wait_status(self, server, wanted, timeout_s=ACTION_TIMEOUT_S):
        """Wait for a server to come to rest in a status."""
        def at_rest():
            found = self.api.get_server(server['id'])
            if found['status'] == 'ERROR' != wanted:
                if found.get('fault'):
                    self.fail(f'server in ERROR: {found["fault"]}')
            elif (found['status'] == wanted
                  and not found['OS-EXT-STS:task_state']):
                return found
            return None
        return self.wait(at_rest, timeout_s, lambda: (
            f'server is {self.api.get_server(server["id"])["status"]}, not'
            f' {wanted}\n{witness.tail(self.console(server))}'))

    def wait(self, condition, timeout_s, why):
        """Wait until a condition is true, and return what it is.

        :param why: returns the text of the failure when time is up
        """
        deadline = time.monotonic() + timeout_s
        while not (value := condition()):
            if time.monotonic() > deadline:
                self.fail(f'after {timeout_s} s: {why()}')
            time.sleep(_POLL_S)
        return value

    def console(self, server):
        """Return what the guest wrote since it was started."""
        return witness.read(os.path.join(self.path(server), 'console.log'))

    def path(self, server, *names):
        """Return a path in a server's folder."""
        return os.path.join(self.instances, server['id'], *names)

    def domain(self, server):
        """Return the libvirt domain of a server, None if there is none."""
        connection = self.compute.driver._host.get_connection()
        try:
            return connection.lookupByUUIDString(server['id'])
        except libvirt.libvirtError as e:
            if e.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            return None

    @property
    def store(self):
        """The base store."""
        return basestore.Store(CONF.flexmem.store_path)

    def users(self, key):
        """Return the uuids of the servers that use a base."""
        return set(self.store.recorded_users(key))

    def base_key(self, server):
        """Return the key of the base that a server uses."""
        keys = [key for key in self.store.keys()
                if server['id'] in self.users(key)]
        self.assertEqual(1, len(keys), keys)
        return keys[0]

    def delete(self, *servers):
        """Delete servers, and check that nothing of them is left."""
        for server in servers:
            self.api.delete_server(server['id'])
        for server in servers:
            self.wait(lambda: self._deleted(server), ACTION_TIMEOUT_S,
                      lambda: 'the server is still there')
            self.assert_nothing_left(server)

    def _deleted(self, server):
        return not self.api.get_servers(
            detail=False, search_opts={'uuid': server['id']})

    def assert_nothing_left(self, server):
        """Check that the host has no file, domain or record of a server."""
        left = [name for name in os.listdir(self.instances)
                if name.startswith(server['id'])]
        self.assertEqual([], left)
        self.assertIsNone(self.domain(server))
        self.assertEqual([], [key for key in self.store.keys()
                              if server['id'] in self.users(key)])

    def why_refused(self, server, action, argument=None):
        """Ask for what must fail; returns what the API says of it.

        The server must be as active as before.
        """
        def requests():
            return {each['request_id'] for each in
                    self.api.get_instance_actions(server['id'])}
        before = requests()
        self.api.post_server_action(server['id'], {action: argument})
        [request] = requests() - before

        def details():
            events = self.api.get_instance_action_details(
                server['id'], request)['events']
            return ' '.join(event['details'] for event in events
                            if event['result'] == 'Error')
        reason = self.wait(details, ACTION_TIMEOUT_S,
                           lambda: f'{action} did not fail')
        self.wait_status(server, 'ACTIVE')
        return reason

    def snapshot(self, server):
        """Take a snapshot of a server; returns the image's id."""
        answer = self.api.post_server_action(
            server['id'], {'createImage': {'name': 'snapshot'}})
        self.wait_status(server, 'ACTIVE')
        image_id = answer['image_id']
        self.wait(lambda: image_id in self.glance.files, ACTION_TIMEOUT_S,
                  lambda: 'the snapshot has no data')
        return image_id

    def hear(self, server, boot, timeout_s=BOOT_TIMEOUT_S, **expected):
        """Wait for what a guest says from now on; returns the status.

        It must say that no file was lost, and soon what is expected.

        :param boot: boots of its root filesystem so far
        :param expected: {key: value} of a status, see witness; a callable
            value is asked whether it is so
        """
        before = witness.last(self.console(server))

        def said():
            status = witness.last(self.console(server))
            if not status or (before and status['boot'] == before['boot'] and
                              status['uptime'] <= before['uptime']):
                return None
            self.assertEqual('ok', status['tree'], self.console(server))
            wrong = [key for key, value in ({'boot': boot} | expected).items()
                     if not (value(status[key]) if callable(value)
                             else value == status[key])]
            return None if wrong else status
        return self.wait(said, timeout_s, lambda: (
            f'the guest does not say {({"boot": boot} | expected)}; its'
            f' console ends:\n{witness.tail(self.console(server))}'))
