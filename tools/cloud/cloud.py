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

"""A cloud on this machine: up, down, and what is in it."""

from concurrent import futures
import functools
import os
import socket
import time

from openstack import exceptions as sdk_exceptions

from nova_flexmem import accel
from nova_flexmem import process
from tools.cloud import account
from tools.cloud import config
from tools.cloud import control
from tools.cloud import exception
from tools.cloud import hypervisor
from tools.cloud import layout as cloud_layout
from tools.cloud import machine
from tools.cloud import service

_READY_TIMEOUT_S = 300

_TRAIT = 'CUSTOM_FLEXMEM'


class Cloud:
    """The cloud of a folder, up or not.

    :ivar machines: controller, node1 and node2
    """

    def __init__(self, folder=cloud_layout.FOLDER):
        self.layout = cloud_layout.Layout(os.path.abspath(folder))
        self.machines = {
            name: machine.Machine(name, self.layout)
            for name in ('controller', *cloud_layout.NODES)}

    @functools.cached_property
    def services(self):
        """All Services by name, in the order of their start."""
        settings = self.layout.settings()
        controller = self.machines['controller']
        services = [*control.backends(self.layout, controller, settings),
                    *control.apis(self.layout, controller).values(),
                    *control.workers(self.layout, controller)]
        for node in cloud_layout.NODES:
            services += self._node_services(node)
        return {each.name: each for each in services}

    def connect(self):
        """Return an openstack.connection.Connection as administrator."""
        self.layout.settings()
        return control.connect(self.layout)

    def up(self, driver, *, image_cache_s=2400, debug=False, usr='',
           usr_nodes=tuple(cloud_layout.NODES), say=lambda message: None):
        """Bring it up, and wait until both nodes are ready for instances.

        :param driver: stock or flexmem
        :param image_cache_s: seconds between runs of the image cache manager
        :param usr: a folder that covers /usr on usr_nodes, or ''
        :param say: takes lines that tell how far it is
        :raises: CloudFailed; what has been started by then runs on, for a
            look at it, until down()
        """
        self._check_free()
        self.layout.remove(logs=True)
        self.layout.make()
        settings = cloud_layout.Settings(
            driver, 'kvm' if accel.kvm_works() else 'qemu', image_cache_s,
            debug, usr, usr_nodes)
        self.layout.save(settings)
        config.write(self.layout, settings)
        account.prepare(self.layout)
        controller = self.machines['controller']
        controller.start()
        for node in cloud_layout.NODES:
            self.start_node(node)
        self._start_control_plane(say)
        for node in cloud_layout.NODES:
            self.services[f'nova-compute-{node}'].start()
        say('waiting for the hypervisors')
        self.wait_ready()

    def wait_ready(self):
        """Wait until both nodes can run instances.

        :raises: CloudFailed
        """
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while reasons := list(self._reasons_to_wait()):
            for each in self.services.values():
                each.check()
            if time.monotonic() > deadline:
                raise exception.CloudFailed(
                    reason=f'{"; ".join(reasons)}, after {_READY_TIMEOUT_S} s;'
                    f' {self.layout.logs} has the logs')
            time.sleep(0.5)

    def down(self):
        """End everything that up() started.

        All files go but the logs and the appliance.
        """
        for each in self.machines.values():
            each.end()
        self._remove_taps()
        self.layout.remove(logs=False)

    def start_node(self, node):
        """Switch a compute node on: its namespaces, ssh and libvirt."""
        host = self.machines[node]
        host.start([*hypervisor.write(self.layout, node,
                                      self.layout.settings()),
                    *account.mounts(self.layout, node)])
        for name in ('sshd', 'virtlogd', 'libvirtd'):
            each = self.services[f'{name}-{node}']
            each.start()
            each.wait()

    def cut_power(self, node):
        """End all that runs on a compute node, guests included."""
        self.machines[node].end()

    def status(self):
        """Return {name: its process id or None} of machines and services."""
        parts = self.machines | self.services
        return {name: part.pid for name, part in parts.items()}

    def _check_free(self):
        running = [name for name, each in self.machines.items() if each.pid]
        if running:
            raise exception.CloudFailed(
                reason=f'{self.layout.folder}: {", ".join(running)} of a'
                ' cloud run already; "python -m tools.cloud down" ends it')
        for name, port in cloud_layout.PORTS.items():
            with socket.socket() as server:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    server.bind(('127.0.0.1', port))
                except OSError as e:
                    raise exception.CloudFailed(
                        reason=f'port {port}, for {name}: {e.strerror}; is'
                        ' there another cloud, with another --folder?')

    def _remove_taps(self):
        """Remove the tap devices of guests that had an interface."""
        try:
            with open(self.layout.taps, encoding='ascii') as f:
                names = set(f.read().split())
        except FileNotFoundError:
            return
        for name in names & set(os.listdir('/sys/class/net')):
            process.run('ip', 'link', 'delete', name, timeout_s=30)

    def _start_control_plane(self, say):
        controller = self.machines['controller']
        services = self.services
        say('creating the databases')
        services['rabbitmq'].start()
        control.create_databases(self.layout, controller)
        services['mariadb'].start()
        services['mariadb'].wait()
        services['neutron'].start()
        with futures.ThreadPoolExecutor() as pool:
            filled = [pool.submit(self._fill, name) for name in
                      ('keystone', 'nova', 'glance', 'placement')]
            for each in futures.as_completed(filled):
                each.result()
        services['rabbitmq'].wait()
        services['keystone'].wait()
        control.register(self.layout)
        say('starting Nova')
        names = ('nova', 'nova-conductor', 'nova-scheduler')
        for name in names:
            services[name].start()
        for name in ('placement', 'glance', 'neutron', *names):
            services[name].wait()

    def _fill(self, name):
        control.fill_databases(self.layout, self.machines['controller'], name)
        if name != 'nova':
            self.services[name].start()

    def _node_services(self, node):
        new = functools.partial(
            service.Service, machine=self.machines[node],
            run_folder=self.layout.path('run'))
        run = self.layout.path(node, 'run')
        sshd, virtlogd, libvirtd, compute = (
            f'{name}-{node}' for name in
            ('sshd', 'virtlogd', 'libvirtd', 'nova-compute'))
        return [
            new(sshd, argv=account.sshd(self.layout, node),
                log_path=self.layout.log(sshd), answers=service.listens(
                    cloud_layout.PORTS['ssh'], cloud_layout.NODES[node])),
            new(virtlogd, argv=('virtlogd',),
                log_path=self.layout.log(virtlogd), answers=service.connects(
                    os.path.join(run, 'libvirt', 'virtlogd-sock'))),
            new(libvirtd, argv=('libvirtd',),
                log_path=self.layout.log(libvirtd), answers=service.connects(
                    os.path.join(run, 'libvirt', 'libvirt-sock'))),
            new(compute, log_path=self.layout.log(compute),
                env=account.environment(self.layout), argv=account.command(
                    control.program('nova-compute'),
                    f'--config-file={self.layout.compute_conf}')),
        ]

    def _reasons_to_wait(self):
        """Yield what is not as instances need it."""
        connection = self.connect()
        flexmem = self.layout.settings().driver == 'flexmem'
        try:
            services = {each.name: each for each in
                        connection.compute.hypervisors(details=True)}
            for node in cloud_layout.NODES:
                if node not in services or services[node].state != 'up':
                    yield f'hypervisor {node} is not up'
                # Placement may not know the host yet, and answer with errors
                elif flexmem and _TRAIT not in connection.placement.get(
                        f'/resource_providers/{services[node].id}/traits',
                        microversion='1.6').json().get('traits', ()):
                    yield f'{node} does not report {_TRAIT}'
        except sdk_exceptions.SDKException as e:
            yield str(e)
        finally:
            connection.close()
