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

"""The configuration files of OpenStack's services in the cloud."""

import json
import os
import shutil

from tools.cloud import layout as cloud_layout

#: Nova's driver as the options say it, by the name of the cloud's driver.
_DRIVERS = {
    'stock': {'compute_driver': 'libvirt.LibvirtDriver'},
    'flexmem': {'config_source': 'flexmem',
                'compute_driver': 'flexmem.FlexMemDriver'},
}

_WEIGHERS = ('nova.scheduler.weights.all_weighers,'
             'nova_flexmem.scheduler.weigher.SameBaseWeigher')


def write(layout, settings):
    """Write all configuration files of the control plane and the nodes."""
    writer = _Writer(layout, settings)
    writer.keystone()
    writer.placement()
    writer.glance()
    writer.nova()
    for node, address in cloud_layout.NODES.items():
        writer.compute(node, address)
    writer.clouds_yaml()


class _Writer:

    def __init__(self, layout, settings):
        self._layout = layout
        self._settings = settings
        self._state = layout.path('controller', 'state')

    def keystone(self):
        keys = self._layout.path('etc', 'keystone-keys')
        credentials = self._layout.path('etc', 'keystone-credentials')
        for folder in (keys, credentials):
            os.mkdir(folder, 0o700)
        self._write('etc/keystone.conf', {
            'DEFAULT': self._default(),
            'database': {'connection': self._database('keystone')},
            'token': {'provider': 'fernet', 'expiration': 86400},
            'fernet_tokens': {'key_repository': keys},
            'fernet_receipts': {'key_repository': keys},
            'credential': {'key_repository': credentials},
            'cache': {'enabled': False},
        })

    def placement(self):
        self._write('etc/placement.conf', {
            'DEFAULT': self._default(),
            'api': {'auth_strategy': 'keystone'},
            'placement_database': {'connection': self._database('placement')},
            'keystone_authtoken': self._authtoken('placement'),
        })

    def glance(self):
        images = self._layout.path('glance')
        self._write('etc/glance-api.conf', {
            'DEFAULT': self._default() | {
                'enabled_backends': 'files:file',
                'enabled_import_methods': '[]',
                'image_cache_dir': os.path.join(self._state, 'glance-cache'),
                'worker_self_reference_url': cloud_layout.url('glance')},
            'database': {'connection': self._database('glance')},
            'glance_store': {'default_backend': 'files'},
            'files': {'filesystem_store_datadir': images},
            'os_glance_staging_store': {
                'filesystem_store_datadir':
                    os.path.join(self._state, 'glance-staging')},
            'os_glance_tasks_store': {
                'filesystem_store_datadir':
                    os.path.join(self._state, 'glance-tasks')},
            'paste_deploy': {
                'flavor': 'keystone',
                'config_file': self._shipped('glance/glance-api-paste.ini')},
            'keystone_authtoken': self._authtoken('glance'),
            'oslo_limit': {'auth_url': cloud_layout.url('keystone', '/v3')},
        })

    def nova(self):
        self._write('etc/nova.conf', self._nova() | {
            'api_database': {'connection': self._database('nova_api')},
            'database': {'connection': self._database('nova')},
            'scheduler': {'workers': 1, 'discover_hosts_in_cells_interval': 5},
            'conductor': {'workers': 1},
            'filter_scheduler': {'weight_classes': _WEIGHERS},
            'oslo_concurrency': {
                'lock_path': os.path.join(self._state, 'lock')},
            'wsgi': {'api_paste_config': self._shipped('nova/api-paste.ini')},
        })

    def _nova(self):
        """Return what all of Nova is told, nova-compute too."""
        return {
            'DEFAULT': self._default() | {
                'my_ip': '127.0.0.1',
                'state_path': self._state,
                'transport_url': 'rabbit://cloud:{}@127.0.0.1:{}/'.format(
                    self._settings.password, cloud_layout.PORTS['rabbitmq']),
                'report_interval': 5,
                'service_down_time': 60,
                'allow_resize_to_same_host': False,
                'update_resources_interval': 10,
                'periodic_fuzzy_delay': 0,
                # a nova-compute that takes long to end is in the way of the
                # next one under the same name
                'manager_shutdown_timeout': 0,
                'graceful_shutdown_timeout': 5,
                # seconds that a guest gets to power off
                'shutdown_timeout': 5,
                'mkisofs_cmd': 'xorrisofs',
                'vif_plugging_is_fatal': False,
                'vif_plugging_timeout': 0},
            'keystone_authtoken': self._authtoken('nova'),
            'placement': self._user('nova'),
            'service_user': self._user('nova') | {
                'send_service_user_token': True},
            'neutron': self._user('nova'),
            'cinder': self._user('nova'),
            'image_cache': {
                'manager_interval': self._settings.image_cache_s},
        }

    def compute(self, node, address):
        common = self._nova()
        self._write(os.path.join(node, 'host/etc/nova.conf'), common | {
            'DEFAULT': common['DEFAULT'] | _DRIVERS[self._settings.driver] | {
                'host': node,
                'my_ip': address,
                'state_path': self._layout.state,
                'instances_path': self._layout.instances,
                'rootwrap_config': self._layout.rootwrap_conf,
                'reserved_host_memory_mb': 512},
            'oslo_concurrency': {'lock_path': self._layout.state},
            'flexmem': {
                'driver': 'flexmem',
                'store_path': self._layout.store},
            'libvirt': {
                'virt_type': self._settings.virt_type,
                # with TCG, the host's CPU is none that a guest can have, and
                # QEMU would keep up to 1 GiB of translated code of each guest;
                # 32 MiB were its default before 5.0
                **({'cpu_mode': 'none', 'tb_cache_size': 32}
                   if self._settings.virt_type == 'qemu' else {}),
                'live_migration_scheme': 'ssh',
                'live_migration_inbound_addr': address},
            # as by default: without it guests have no video BIOS, and GRUB
            # gets no further than its first character
            'vnc': {'enabled': True, 'server_listen': '127.0.0.1'},
            'spice': {'enabled': False},
        })

    def clouds_yaml(self):
        """Write the file that OpenStack's clients read."""
        cloud = {
            'auth': {'auth_url': cloud_layout.url('keystone', '/v3'),
                     'username': 'admin',
                     'password': self._settings.password,
                     'project_name': 'admin',
                     'user_domain_id': 'default',
                     'project_domain_id': 'default'},
            'region_name': 'RegionOne'}
        # YAML is a superset of JSON
        with open(self._layout.clouds_yaml, 'w', encoding='utf-8') as f:
            json.dump({'clouds': {'admin': cloud}}, f, indent=4)

    def _default(self):
        return {'debug': self._settings.debug}

    def _database(self, name):
        return (f'mysql+pymysql://root@localhost/{name}'
                f'?unix_socket={self._layout.database_socket}')

    def _user(self, name):
        return {'auth_type': 'password',
                'auth_url': cloud_layout.url('keystone', '/v3'),
                'username': name,
                'password': self._settings.password,
                'project_name': 'service',
                'user_domain_id': 'default',
                'project_domain_id': 'default',
                'region_name': 'RegionOne'}

    def _authtoken(self, name):
        return self._user(name) | {
            'www_authenticate_uri': cloud_layout.url('keystone'),
            'service_token_roles': 'service',
            'service_token_roles_required': True}

    def _shipped(self, path):
        """Copy a file that comes with a service and return where it is."""
        copy = self._layout.path('etc', os.path.basename(path))
        shutil.copy(os.path.join(cloud_layout.VENV, 'etc', path), copy)
        return copy

    def _write(self, name, sections):
        with open(self._layout.path(name), 'w', encoding='utf-8') as f:
            for section, options in sections.items():
                f.write(f'[{section}]\n')
                f.writelines(f'{option} = {value}\n'
                             for option, value in options.items())
