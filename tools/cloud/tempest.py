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

"""Runs Tempest with this package's tests against the cloud that is up.

python -m tools.cloud.tempest [ARGUMENTS OF "tempest run"]
"""

import configparser
import os
import shlex
import subprocess
import sys

from nova_flexmem.demo import debian
from nova_flexmem import exception
from tools.cloud import cloud
from tools.cloud import control
from tools.cloud import layout as cloud_layout

_CACHE = '/var/tmp/nova-flexmem-images'

#: Name: MiB of RAM and GiB of disk.
_FLAVORS = {'flexmem.small': (512, 4), 'flexmem.medium': (640, 5)}
_EXTRA_SPECS = {'flexmem:policy': 'required',
                'trait:CUSTOM_FLEXMEM': 'required'}

#: A base may have to be built first, and the machine be slow.
_TIMEOUT_S = 900


def _prepare(connection, image_file):
    """Make the image and the flavors; return their ids, image first."""
    image = connection.image.find_image('debian')
    if image is None:
        image = connection.image.create_image(
            'debian', filename=image_file, disk_format='qcow2',
            container_format='bare', visibility='public',
            validate_checksum=False)
    ids = [image.id]
    for name, (ram_mib, disk_gib) in _FLAVORS.items():
        flavor = connection.compute.find_flavor(name)
        if flavor is None:
            flavor = connection.compute.create_flavor(
                name=name, ram=ram_mib, vcpus=1, disk=disk_gib)
            connection.compute.create_flavor_extra_specs(flavor, _EXTRA_SPECS)
        ids.append(flavor.id)
    return ids


def _options(layout, image, flavor, flavor_alt):
    """Return {section: {option: value}} of tempest.conf."""
    folder = layout.path('tempest')
    run = (sys.executable, '-m', 'tools.cloud', '--folder', layout.folder,
           'run', '{host}')
    return {
        'DEFAULT': {'log_file': os.path.join(folder, 'tempest.log')},
        'oslo_concurrency': {'lock_path': os.path.join(folder, 'lock')},
        'auth': {'admin_username': 'admin', 'admin_project_name': 'admin',
                 'admin_password': layout.settings().password,
                 'admin_domain_name': 'Default',
                 'create_isolated_networks': False},
        'identity': {'uri_v3': cloud_layout.url('keystone', '/v3'),
                     'auth_version': 'v3', 'region': 'RegionOne'},
        'service_available': {'nova': True, 'glance': True, 'neutron': False,
                              'cinder': False, 'swift': False,
                              'horizon': False},
        'compute': {'image_ref': image, 'flavor_ref': flavor,
                    'flavor_ref_alt': flavor_alt,
                    'min_compute_nodes': len(cloud_layout.NODES),
                    'max_microversion': 'latest',
                    'build_timeout': _TIMEOUT_S, 'build_interval': 2},
        'compute-feature-enabled': {'live_migration': True,
                                    'suspend': True},
        'image': {'build_timeout': _TIMEOUT_S},
        'flexmem': {'flavor_ref': flavor, 'flavor_ref_alt': flavor_alt,
                    'host_command': shlex.join(run)},
    }


def _write(path, options):
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_dict(options)
    with open(path, 'w', encoding='utf-8') as f:
        parser.write(f)


def main():
    the_cloud = cloud.Cloud()
    try:
        connection = the_cloud.connect()
        with connection:
            ids = _prepare(connection, debian.build('ext4', _CACHE))
    except exception.FlexMemException as e:
        sys.exit(f'tempest: {e}')
    folder = the_cloud.layout.path('tempest')
    os.makedirs(folder, mode=0o700, exist_ok=True)
    path = os.path.join(folder, 'tempest.conf')
    _write(path, _options(the_cloud.layout, *ids))
    return subprocess.run(
        [control.program('tempest'), 'run', '--config-file', path,
         *(sys.argv[1:] or ('--regex', r'^nova_flexmem\.', '--serial'))],
        cwd=folder, env=os.environ | {'PYTHONPATH': cloud_layout.TREE},
        check=False).returncode


if __name__ == '__main__':
    sys.exit(main())
