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

"""The services of the control plane, and what makes them ready for use."""

import functools
import os

import openstack
import pymysql

from tools.cloud import layout as cloud_layout
from tools.cloud import service

_DATABASES = ('keystone', 'placement', 'glance', 'nova_api', 'nova_cell0',
              'nova')

_PREPARE_TIMEOUT_S = 600

_RABBITMQ_CONF = '''\
listeners.tcp.1 = 127.0.0.1:{port}
default_user = cloud
default_pass = {password}
vm_memory_high_watermark.absolute = 512MB
disk_free_limit.absolute = 50MB
log.file = false
log.console = true
log.console.level = warning
'''

#: Service, its WSGI application, its type and the path of its address.
_API = (('keystone', 'keystone.wsgi.api', 'identity', '/v3'),
        ('placement', 'placement.wsgi.api', 'placement', ''),
        ('glance', 'glance.wsgi.api', 'image', ''),
        ('neutron', 'tools.cloud.neutron', 'network', ''),
        ('nova', 'nova.wsgi.osapi_compute', 'compute', '/v2.1'))


def program(name):
    """Return the path of a program of the virtual environment."""
    return os.path.join(cloud_layout.VENV, 'bin', name)


def backends(layout, machine, settings):
    """Return the services MariaDB and RabbitMQ."""
    new = functools.partial(service.Service, machine=machine,
                            run_folder=layout.path('run'))
    rabbitmq = layout.path('rabbitmq')
    with open(os.path.join(rabbitmq, 'rabbitmq.conf'), 'w',
              encoding='ascii') as f:
        f.write(_RABBITMQ_CONF.format(
            port=cloud_layout.PORTS['rabbitmq'], password=settings.password))
    with open(os.path.join(rabbitmq, 'plugins'), 'w', encoding='ascii') as f:
        f.write('[].\n')
    return [
        new('mariadb', log_path=layout.log('mariadb'), argv=(
            'mariadbd', '--no-defaults', '--user=root',
            f'--datadir={layout.path("mariadb", "data")}',
            f'--socket={layout.database_socket}',
            f'--pid-file={layout.path("mariadb", "pid")}',
            '--skip-networking', '--skip-log-bin', '--max-connections=300',
            # the data ends with the cloud
            '--innodb-flush-log-at-trx-commit=0', '--innodb-doublewrite=0',
            '--innodb-buffer-pool-size=64M', '--performance-schema=off',
            '--character-set-server=utf8mb3',
            '--collation-server=utf8mb3_general_ci'),
            answers=service.connects(layout.database_socket)),
        new('rabbitmq', log_path=layout.log('rabbitmq'), argv=(
            # Debian's wrapper of it insists on a user and folders of its own
            '/usr/lib/rabbitmq/bin/rabbitmq-server',),
            env=_rabbitmq_environment(rabbitmq),
            answers=service.listens(cloud_layout.PORTS['rabbitmq'])),
    ]


def _rabbitmq_environment(folder):
    ports = cloud_layout.PORTS
    return {
        'HOME': folder,
        'ERL_EPMD_ADDRESS': '127.0.0.1',
        'ERL_EPMD_PORT': str(ports['epmd']),
        'RABBITMQ_NODENAME': 'cloud@localhost',
        'RABBITMQ_DIST_PORT': str(ports['erlang']),
        'RABBITMQ_CONF_ENV_FILE': '/dev/null',
        'RABBITMQ_CONFIG_FILE': os.path.join(folder, 'rabbitmq'),
        'RABBITMQ_ENABLED_PLUGINS_FILE': os.path.join(folder, 'plugins'),
        'RABBITMQ_MNESIA_BASE': os.path.join(folder, 'mnesia'),
        'RABBITMQ_LOG_BASE': folder,
        'RABBITMQ_PID_FILE': os.path.join(folder, 'pid'),
        'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS':
            '-kernel inet_dist_use_interface {127,0,0,1} +sbwt none',
    }


def create_databases(layout, machine):
    """Make MariaDB's folder, before it is started."""
    machine.prepare(
        'mariadb-install-db', '--no-defaults', '--user=root',
        f'--datadir={layout.path("mariadb", "data")}',
        '--auth-root-authentication-method=normal', '--skip-test-db',
        '--skip-name-resolve', log_path=layout.log('mariadb'), env={},
        timeout_s=_PREPARE_TIMEOUT_S)


def fill_databases(layout, machine, name):
    """Make a service's databases and what else it wants before its start.

    :param name: keystone, placement, glance or nova
    """
    connection = pymysql.connect(user='root',
                                 unix_socket=layout.database_socket)
    with connection, connection.cursor() as cursor:
        for database in _DATABASES:
            if database.startswith(name):
                cursor.execute(f'create database {database}')
    secret = {'OS_BOOTSTRAP_PASSWORD': layout.settings().password}
    for argv in _preparations(layout)[name]:
        machine.prepare(program(argv[0]), *argv[1:], log_path=layout.log(name),
                        env=secret, timeout_s=_PREPARE_TIMEOUT_S)


def _preparations(layout):
    """Return the commands for each service, in order."""
    keystone, placement, glance, nova = (
        f'--config-file={layout.path("etc", name)}' for name in
        ('keystone.conf', 'placement.conf', 'glance-api.conf', 'nova.conf'))
    identity = cloud_layout.url('keystone', '/v3')
    cell0 = (f'mysql+pymysql://root@localhost/nova_cell0'
             f'?unix_socket={layout.database_socket}')
    root = ('--keystone-user', 'root', '--keystone-group', 'root')
    return {
        'keystone': [
            ('keystone-manage', keystone, 'db_sync'),
            ('keystone-manage', keystone, 'fernet_setup', *root),
            ('keystone-manage', keystone, 'credential_setup', *root),
            ('keystone-manage', keystone, 'bootstrap',
             '--bootstrap-region-id', 'RegionOne',
             '--bootstrap-admin-url', identity,
             '--bootstrap-public-url', identity,
             '--bootstrap-internal-url', identity)],
        'placement': [('placement-manage', placement, 'db', 'sync')],
        'glance': [('glance-manage', glance, 'db_sync')],
        'nova': [
            ('nova-manage', nova, 'api_db', 'sync'),
            ('nova-manage', nova, 'cell_v2', 'map_cell0',
             '--database_connection', cell0),
            ('nova-manage', nova, 'cell_v2', 'create_cell', '--name=cell1'),
            ('nova-manage', nova, 'db', 'sync')],
    }


def apis(layout, machine):
    """Return the HTTP services by their names."""
    etc = layout.path('etc')
    env = {'OS_KEYSTONE_CONFIG_DIR': etc, 'OS_PLACEMENT_CONFIG_DIR': etc,
           'OS_GLANCE_CONFIG_DIR': etc, 'OS_NOVA_CONFIG_DIR': etc,
           'OS_KEYSTONE_CONFIG_FILES': os.path.join(etc, 'keystone.conf'),
           'CLOUD_TAPS': layout.taps}
    return {name: service.Service(
        name, machine,
        (program('gunicorn'), '--worker-class', 'gthread', '--workers', '1',
         '--threads', '8', '--timeout', '300', '--log-level', 'warning',
         '--bind', f'127.0.0.1:{cloud_layout.PORTS[name]}',
         '--pythonpath', cloud_layout.TREE,
         'tools.cloud.wsgi:application'),
        layout.path('run'), layout.log(name),
        env | {'CLOUD_APPLICATION': application},
        service.listens(cloud_layout.PORTS[name]))
        for name, application, _type, _path in _API}


def workers(layout, machine):
    """Return nova-conductor and nova-scheduler."""
    return [service.Service(
        name, machine,
        (program(name), f'--config-file={layout.path("etc", "nova.conf")}'),
        layout.path('run'), layout.log(name))
        for name in ('nova-conductor', 'nova-scheduler')]


def connect(layout):
    """Return an openstack.connection.Connection as the administrator."""
    loader = openstack.config.OpenStackConfig(
        config_files=[layout.clouds_yaml], load_envvars=False)
    return openstack.connection.Connection(config=loader.get_one('admin'))


def register(layout):
    """Make the services' users and the catalogue."""
    identity = connect(layout).identity
    roles = [identity.find_role(name, ignore_missing=False)
             for name in ('admin', 'service')]
    project = identity.create_project(name='service', domain_id='default')
    password = layout.settings().password
    for name, _application, kind, path in _API:
        if name == 'keystone':
            continue
        user = identity.create_user(name=name, password=password,
                                    domain_id='default')
        for role in roles:
            identity.assign_project_role_to_user(project, user, role)
        entry = identity.create_service(name=name, type=kind)
        for interface in ('public', 'internal', 'admin'):
            identity.create_endpoint(
                service_id=entry.id, interface=interface,
                region_id='RegionOne', url=cloud_layout.url(name, path))
