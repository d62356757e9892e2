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

"""A real Glance for tests: its API, on sqlite and a folder, without Keystone.

A token is USER:PROJECT:ROLE, as Glance's own functional tests have it.
"""

import atexit
import functools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.request

import glanceclient
from keystoneauth1 import session as ks_session
from keystoneauth1 import token_endpoint

_READY_TIMEOUT_S = 120

_PASTE = '''\
    [pipeline:glance-api]
    pipeline = fakeauth rootapp
    [composite:rootapp]
    paste.composite_factory = glance.api:root_app_factory
    /: apiversions
    /v2: apiv2app
    [app:apiversions]
    paste.app_factory = glance.api.versions:create_resource
    [app:apiv2app]
    paste.app_factory = glance.api.v2.router:API.factory
    [filter:fakeauth]
    paste.filter_factory = glance.tests.utils:FakeAuthMiddleware.factory
    '''

_CONF = '''\
    [DEFAULT]
    enabled_backends = files:file
    enabled_import_methods = []
    [database]
    connection = sqlite:///{folder}/glance.sqlite
    sqlite_synchronous = false
    [glance_store]
    default_backend = files
    [files]
    filesystem_store_datadir = {folder}/images
    [os_glance_staging_store]
    filesystem_store_datadir = {folder}/staging
    [os_glance_tasks_store]
    filesystem_store_datadir = {folder}/tasks
    [paste_deploy]
    config_file = {folder}/paste.ini
    '''


class Server:
    """A Glance that runs until the process of the tests ends."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix='flexmem-glance-')
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        for name, text in (('paste.ini', _PASTE), ('glance-api.conf', _CONF)):
            with open(os.path.join(self.folder, name), 'w') as f:
                f.write(textwrap.dedent(text).format(folder=self.folder))
        for name in ('images', 'staging', 'tasks'):
            os.mkdir(os.path.join(self.folder, name))
        with socket.socket() as found:
            found.bind(('127.0.0.1', 0))
            port = found.getsockname()[1]
        self.url = f'http://127.0.0.1:{port}'
        self._start(port)

    def _start(self, port):
        programs = os.path.dirname(sys.executable)
        environment = os.environ | {'OS_GLANCE_CONFIG_DIR': self.folder}
        self._log = open(os.path.join(self.folder, 'log'), 'wb')
        subprocess.run(
            [os.path.join(programs, 'glance-manage'),
             f'--config-file={self.folder}/glance-api.conf', 'db_sync'],
            stdout=self._log, stderr=self._log, check=True)
        self._process = subprocess.Popen(
            # one request after the other: sqlite refuses what is concurrent
            [os.path.join(programs, 'gunicorn'), '--worker-class', 'gthread',
             '--threads', '1', '--log-level', 'warning', '--bind',
             f'127.0.0.1:{port}', 'glance.wsgi.api:application'],
            # Glance's own modules for tests write a log where they are
            cwd=self.folder, env=environment, stdout=self._log,
            stderr=self._log)
        atexit.register(self._end)
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while not self._answers():
            if (time.monotonic() > deadline
                    or self._process.poll() is not None):
                with open(self._log.name) as f:
                    raise RuntimeError(f.read()[-2000:])
            time.sleep(0.1)

    def _answers(self):
        try:
            urllib.request.urlopen(urllib.request.Request(
                f'{self.url}/v2/schemas/image',
                headers={'X-Auth-Token': 'user:project:admin'}), timeout=10)
        except OSError:
            return False
        return True

    def _end(self):
        self._process.terminate()
        self._process.wait()

    def client(self, project_id, role='admin'):
        """Return a glanceclient of a user of a project."""
        return client(self.url, project_id, role)


def client(url, project_id, role='admin'):
    """Return a glanceclient of a user of a project.

    :param url: of a Server
    """
    auth = token_endpoint.Token(url, f'user:{project_id}:{role}')
    return glanceclient.Client('2', session=ks_session.Session(auth),
                               auth=auth, endpoint_override=url)


@functools.cache
def server():
    """Return the Server of this process."""
    return Server()
