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

"""What the tests of the cloud share: images, servers and their guests."""

import contextlib
import os
import time
import uuid

from openstack import exceptions as sdk_exceptions
import testtools

from tests.cloud import hosts
from tests.functional import harness
from tests.witness import guest_image
from tests.witness import witness
from tools.cloud import cloud

MICROVERSION = '2.96'
RAM_MIB = 256
DISK_GIB = 1

#: A base may have to be built first, and the machine be slow.
READY_TIMEOUT_S = 600

REQUIRED = {'flexmem:policy': 'required',
            'trait:CUSTOM_FLEXMEM': 'required'}


class CloudTestCase(testtools.TestCase):
    """Has the cloud that is up, and a client of it as administrator."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.cloud = cloud.Cloud()
        if os.geteuid() != 0 or cls.cloud.machines['controller'].pid is None:
            cls.skipTest(cls, 'needs root, and a cloud that is up; run it with'
                         ' python -m tests.cloud.run')
        cls.hosts = hosts.Hosts(cls.cloud)
        cls.connection = cls.cloud.connect()
        cls.addClassCleanup(cls.connection.close)

    # -- the API

    def call(self, method, path, connection=None, **kwargs):
        """Call Nova's API.

        :returns: what it answers, from JSON
        :raises: what openstack.exceptions has for the HTTP status
        """
        response = (connection or self.connection).compute.request(
            path, method, microversion=MICROVERSION, **kwargs)
        sdk_exceptions.raise_from_response(response)
        return response.json() if response.content else None

    def act(self, server_id, action, arguments=None, connection=None):
        """Have something done to a server.

        :returns: the id of the request, which also names the action
        """
        response = (connection or self.connection).compute.request(
            f'/servers/{server_id}/action', 'POST', microversion=MICROVERSION,
            json={action: arguments})
        sdk_exceptions.raise_from_response(response)
        return response.headers['x-openstack-request-id']

    def image(self, name='witness', connection=None, anew=False, data_bytes=0,
              **properties):
        """Return the id of an image in Glance; uploaded if it is not there.

        :param name: what guests of it call it, see guest_image
        :param anew: whether it is the test's own, and removed after it
        :param data_bytes: of files that it has beside its programs
        """
        glance = (connection or self.connection).image
        found = None if anew else glance.find_image(name)
        if found is None:
            found = glance.create_image(
                name, filename=guest_image.build(
                    harness.CACHE, name, data_bytes).qcow2,
                disk_format='qcow2', container_format='bare',
                validate_checksum=False, allow_duplicates=True, **properties)
            if anew:
                self.addCleanup(glance.delete_image, found)
        return found.id

    def flavor(self, extra_specs=None, disk_gib=DISK_GIB, ram_mib=RAM_MIB):
        """Return the id of a new flavor, of FlexMem unless said otherwise."""
        body = self.call('POST', '/flavors', json={'flavor': {
            'name': f'test-{uuid.uuid4().hex}', 'ram': ram_mib, 'vcpus': 1,
            'disk': disk_gib}})
        flavor_id = body['flavor']['id']
        self.addCleanup(self.call, 'DELETE', f'/flavors/{flavor_id}')
        self.call('POST', f'/flavors/{flavor_id}/os-extra_specs',
                  json={'extra_specs': extra_specs or REQUIRED})
        return flavor_id

    def boot(self, image_id, flavor_id=None, host=None, connection=None):
        """Ask for a server, without waiting; return its id."""
        server = {'name': self.id().rpartition('.')[2][:60],
                  'imageRef': image_id, 'networks': 'none',
                  'flavorRef': flavor_id or self.flavor()}
        if host:
            server['host'] = host
        body = self.call('POST', '/servers', connection,
                         json={'server': server})
        server_id = body['server']['id']
        self.addCleanup(self.delete, server_id)
        return server_id

    def show(self, server_id, connection=None):
        return self.call('GET', f'/servers/{server_id}', connection)['server']

    def host_of(self, server_id):
        return self.show(server_id)['OS-EXT-SRV-ATTR:host']

    def wait(self, server_id, status, timeout_s=READY_TIMEOUT_S):
        """Wait until a server has a status and no task; return the server."""
        server = {}

        def reached():
            server.update(self.show(server_id))
            if server['OS-EXT-STS:task_state']:
                return False
            if server['status'] == 'ERROR' != status:
                self.fail(f'{server["status"]}: {server.get("fault")}')
            return server['status'] == status

        self.wait_for(reached, timeout_s, lambda: f'{server_id} does not get'
                      f' to {status}: ' + str({
                          name: server[name] for name in server
                          if 'STS' in name or name == 'status'}))
        return server

    def delete(self, server_id):
        """Delete a server and wait until it is gone."""
        def gone():
            try:
                return self.show(server_id)['status'] == 'DELETED'
            except sdk_exceptions.NotFoundException:
                return True

        if not gone():
            self.call('DELETE', f'/servers/{server_id}')
            self.wait_for(gone, 120, lambda: f'{server_id} is not deleted')

    def wait_event(self, server_id, request_id):
        """Wait until an action has ended; return its events, a list."""
        path = f'/servers/{server_id}/os-instance-actions/{request_id}'
        events = []

        def ended():
            action = self.call('GET', path)['instanceAction']
            events[:] = action['events']
            return events and all(event['result'] for event in events)

        self.wait_for(ended, 120, lambda: f'{request_id}: {events}')
        return events

    def evacuate(self, server_id):
        """Evacuate a server, start it, and return the host that it is on."""
        self.act(server_id, 'evacuate', {})
        # what was evacuated has to be started (since API 2.95)
        self.wait(server_id, 'SHUTOFF')
        self.act(server_id, 'os-start')
        self.wait(server_id, 'ACTIVE')
        return self.host_of(server_id)

    def keeps_nothing(self, node, server_id, part=''):
        """Wait until a host has nothing of a server any more.

        :param part: what is in the paths that count
        """
        self.wait_for(
            lambda: not [path for path in self.hosts.left(server_id)
                         if node in path and part in path], 120,
            lambda: f'{node} keeps what it had: {self.hosts.left(server_id)}')

    @contextlib.contextmanager
    def power_cut(self, node):
        """Have a host without power, and Nova know it, for a while."""
        [service] = [each for each in self.connection.compute.services()
                     if each.host == node and each.binary == 'nova-compute']
        compute = self.cloud.services[f'nova-compute-{node}']
        self.cloud.cut_power(node)
        self.call('PUT', f'/os-services/{service.id}',
                  json={'forced_down': True})
        try:
            yield
        finally:
            self.cloud.start_node(node)
            self.has_power(node)
            compute.start()
            self.wait_for(lambda: self._force_up(service), 120,
                          lambda: f'Nova does not let {node} be up')
            self.cloud.wait_ready()

    def has_power(self, node):
        """Called before a host's nova-compute starts, after a power cut."""

    def _force_up(self, service):
        """Let a host be up again, once it has cleaned up; return whether."""
        try:
            self.call('PUT', f'/os-services/{service.id}',
                      json={'forced_down': False})
        except sdk_exceptions.BadRequestException:
            return False
        return True

    # -- guests

    def console(self, server_id):
        body = self.call('POST', f'/servers/{server_id}/action',
                         json={'os-getConsoleOutput': {}})
        return body['output']

    def wait_guest(self, server_id, boot=1, timeout_s=READY_TIMEOUT_S):
        """Wait until a guest has started for the Nth time.

        :returns: its status, see tests.witness.witness
        """
        found = {}

        def started():
            try:
                console = self.console(server_id)
            except sdk_exceptions.ConflictException:  # not on a host yet
                return False
            found.update(witness.last(console) or {})
            return found.get('boot') == boot

        self.wait_for(started, timeout_s, lambda: f'{server_id}: no boot'
                      f' {boot}, {found}\n'
                      + witness.tail(self.console(server_id)))
        return found

    def start_flexmem(self, image_id, **kwargs):
        """Boot a server and wait until its guest says that it is FlexMem's."""
        server_id = self.boot(image_id, **kwargs)
        self.wait(server_id, 'ACTIVE')
        self.assert_flexmem(self.wait_guest(server_id), boot=1)
        return server_id

    def assert_flexmem(self, status, boot):
        """Check that a guest runs from FlexMem and has lost no data."""
        self.assertEqual(
            ('overlay', 'erofs', 'ok', boot),
            (status['root'], status['lower'], status['tree'], status['boot']),
            status)

    def wait_for(self, condition, timeout_s, message):
        """Wait until a condition holds; fail with what message() returns."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                self.fail(f'after {timeout_s} s: {message()}')
            time.sleep(0.5)

    def assert_nothing_left(self, server_id):
        """Check that no host has anything of a server any more."""
        self.assertEqual([], self.hosts.left(server_id))
