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

"""Where the cloud keeps what, and where its services listen."""

import dataclasses
import json
import os
import secrets
import shutil
import sys

from tools.cloud import exception

FOLDER = '/var/tmp/nova-flexmem-cloud'

#: Compute nodes and their addresses. libvirt takes no 127.0.0.1 for moving
#: guests, but the rest of the loopback network.
NODES = {'node1': '127.0.0.11', 'node2': '127.0.0.12'}

#: All listen on loopback, away from the usual ports.
PORTS = {'keystone': 15000, 'placement': 18778, 'glance': 19292,
         'neutron': 19696, 'nova': 18774, 'rabbitmq': 15672,
         'erlang': 15673, 'epmd': 15674, 'ssh': 15022}

VENV = sys.prefix

#: The source tree that this is in.
TREE = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))

#: The file that tells a cloud's folder from others.
_MARK = '.nova-flexmem-cloud'

#: Kept from one cloud to the next.
_APPLIANCE = 'appliance'


def url(service, path=''):
    """Return the address of an HTTP service."""
    return f'http://127.0.0.1:{PORTS[service]}{path}'


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a cloud was brought up with."""

    driver: str  # stock or flexmem
    virt_type: str  # kvm or qemu
    image_cache_s: int  # seconds between runs of Nova's image cache manager
    debug: bool
    usr: str = ''  # covers /usr on a node, say with another QEMU; '': nothing
    usr_nodes: tuple[str, ...] = tuple(NODES)
    password: str = dataclasses.field(
        default_factory=lambda: secrets.token_hex(16))


@dataclasses.dataclass(frozen=True)
class Layout:
    """The files of a cloud, below one folder.

    ``host`` is the same path on all compute nodes with other content on each:
    a node's own folder is mounted there in its namespace.
    """

    folder: str

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    @property
    def host(self):
        return self.path('host')

    @property
    def instances(self):
        return self.path('host', 'instances')

    @property
    def store(self):
        return self.path('host', 'store')

    @property
    def appliance(self):
        """Both nodes' libguestfs appliance, which takes minutes to make."""
        return self.path(_APPLIANCE)

    @property
    def state(self):
        return self.path('host', 'state')

    @property
    def compute_conf(self):
        return self.path('host', 'etc', 'nova.conf')

    @property
    def rootwrap_conf(self):
        return self.path('host', 'etc', 'rootwrap.conf')

    @property
    def logs(self):
        return self.path('log')

    @property
    def clouds_yaml(self):
        return self.path('etc', 'clouds.yaml')

    @property
    def database_socket(self):
        return self.path('mariadb', 'socket')

    @property
    def taps(self):
        return self.path('run', 'taps')

    def log(self, name):
        return self.path('log', f'{name}.log')

    def make(self):
        """Make the folders. What is secret or private is for root alone.

        :raises: CloudFailed if the folder holds anything else
        """
        os.makedirs(self.folder, exist_ok=True)
        if set(os.listdir(self.folder)) - {_APPLIANCE}:
            raise exception.CloudFailed(
                reason=f'{self.folder}: not empty, and not of a cloud; name'
                ' another with --folder')
        with open(self.path(_MARK), 'w', encoding='ascii'):
            pass
        # QEMU's user has to get to the files of the guests, nova-compute's too
        os.chmod(self.folder, 0o711)
        for name in ('etc', 'log', 'run', 'mariadb', 'rabbitmq', 'glance',
                     'controller'):
            os.mkdir(self.path(name), 0o700)
        for name in ('tmp', 'state'):
            os.mkdir(self.path('controller', name), 0o700)
        os.mkdir(self.host)
        os.makedirs(self.appliance, exist_ok=True)
        for node in NODES:
            for name in ('libvirt-etc', 'run', 'libvirt-lib', 'libvirt-log',
                         'libvirt-cache', 'host/etc', 'host/instances',
                         'host/store', 'host/state', 'tmp'):
                os.makedirs(self.path(node, name))
            os.symlink(self.appliance,
                       self.path(node, 'host/store/appliance'))

    def remove(self, logs):
        """Remove what make() made and what came into it, but the appliance.

        :param logs: whether the logs go as well
        """
        if not os.path.exists(self.path(_MARK)):
            return
        for name in os.listdir(self.folder):
            if name not in (_MARK, 'log', _APPLIANCE):
                shutil.rmtree(self.path(name))
        if logs:
            shutil.rmtree(self.logs)
            os.unlink(self.path(_MARK))

    def save(self, settings):
        with open(self.path('etc', 'cloud.json'), 'w', encoding='utf-8') as f:
            json.dump(dataclasses.asdict(settings), f, indent=4)

    def settings(self):
        """Return the Settings of the cloud that is up.

        :raises: CloudFailed if there is none
        """
        try:
            with open(self.path('etc', 'cloud.json'), encoding='utf-8') as f:
                return Settings(**json.load(f))
        except FileNotFoundError:
            raise exception.CloudFailed(
                reason=f'no cloud in {self.folder}; "python -m tools.cloud'
                ' up" brings one up')
