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

"""A look at the compute hosts of the cloud."""

import contextlib
import functools
import glob
import json
import os
import signal
import subprocess

from nova_flexmem import process
from nova_flexmem.store import basefiles
from tools.cloud import account
from tools.cloud import control
from tools.cloud import exception
from tools.cloud import layout
from tools.cloud import pid


class Hosts:
    """The two hosts of a cloud.

    :param the_cloud: a tools.cloud.cloud.Cloud
    """

    def __init__(self, the_cloud):
        self._cloud = the_cloud

    def path(self, node, *parts):
        """Return a path as it is from outside of a node's namespaces."""
        return self._cloud.layout.path(node, 'host', *parts)

    def bases(self, node):
        """Return the keys of the bases that a host has, a set."""
        return set(os.listdir(self.path(node, 'store', 'bases')))

    def base(self, server_id, node):
        """Return a server's basefiles.Base, as a host has it."""
        with open(glob.glob(self.path(
                node, 'instances', f'{server_id}*', 'flexmem.json'))[0],
                encoding='utf-8') as f:
            key = json.load(f)['base_key']
        return basefiles.Base(self.path(node, 'store', 'bases', key))

    def base_of(self, server_id, node):
        """Return {file: SHA-256} of a server's base, as a host has it.

        :raises: BaseDamaged if the files are not what their manifest says
        """
        found = self.base(server_id, node)
        found.verify()
        return {name: each.sha256
                for name, each in found.manifest.files.items()}

    def qemu(self, server_id):
        """Return the process id of a server's QEMU."""
        [found] = [int(each) for each in os.listdir('/proc')
                   if each.isdigit() and server_id in _command(each)]
        return found

    def qemus(self, server_id, node):
        """Return the process ids of a server's QEMUs on a host."""
        holder = self._cloud.machines[node].pid
        namespace = os.readlink(f'/proc/{holder}/ns/mnt')
        return [each for each in pid.in_mount_namespace(namespace)
                if server_id in _command(each)]

    def kill(self, pids):
        """End processes as kill -9 does."""
        pid.send(pids, signal.SIGKILL)

    def states(self, server_id):
        """Return {host: state} of a server's domains, as libvirt calls it."""
        states = {}
        for node in layout.NODES:
            virsh = functools.partial(self._cloud.machines[node].run, 'virsh')
            if server_id in virsh('list', '--all', '--uuid').split():
                with contextlib.suppress(exception.CloudFailed):  # gone now
                    states[node] = virsh('domstate', server_id).strip()
        return states

    def waits(self, server_id, node):
        """Return whether a server's QEMU on a host still receives it."""
        return self.states(server_id).get(node) == 'paused'

    def builds(self, image_id):
        """Return how many bases of an image were built, {node: number}."""
        return {node: sum(f'Image {image_id} has base' in line
                          and ', built in' in line
                          for line in self._log(node).splitlines())
                for node in layout.NODES}

    def scans(self, node):
        """Return how often a host's nova-compute had KSM scan."""
        return self._log(node).count('KSM has scanned for')

    def left(self, server_id):
        """Return what the hosts have of a server, a list."""
        found = []
        for node in layout.NODES:
            for name in (f'instances/{server_id}*',
                         f'store/uses/*/{server_id}'):
                found += glob.glob(self.path(node, name))
        found += [f'a domain on {node}' for node in self.states(server_id)]
        return found

    def migrated(self, server_id, node):
        """Return libvirt's statistics of a server's move to a host.

        :returns: {name: number}, as virsh(1) domjobinfo calls them
        """
        shown = self._cloud.machines[node].run(
            'virsh', 'domjobinfo', server_id, '--completed', '--rawstats')
        pairs = (line.partition(':') for line in shown.splitlines())
        return {name.strip(): int(value) for name, _colon, value in pairs
                if value.strip().isdigit()}

    def memory(self, node):
        """Return the rows of `nova-flexmem host memory` on a host, dicts."""
        return json.loads(self._cloud.machines[node].run(
            control.program('nova-flexmem'), '--store',
            self._cloud.layout.store, 'host', 'memory', '-f', 'json'))

    def saved_bytes(self, server_id, node):
        """Return what the file of a suspended server takes of the disk."""
        machine = self._cloud.machines[node]
        name = machine.run('virsh', 'domname', server_id).strip()
        blocks = machine.run('stat', '-c', '%b',
                             f'/var/lib/libvirt/qemu/save/{name}.save')
        return int(blocks) * 512

    def run(self, node, *argv):
        """Run a program of the virtual environment as nova-compute's user.

        :returns: None if it succeeds, else what it said
        """
        # not by nova_flexmem.process: sudo needs privileges
        machine = self._cloud.machines[node]
        ended = subprocess.run(
            machine.command(*account.command(
                control.program(argv[0]), *argv[1:])),
            env=process.environment(
                TMPDIR=machine.tmp, **account.environment(self._cloud.layout)),
            cwd='/', stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=300, check=False)
        return ended.stdout if ended.returncode else None

    def _log(self, node):
        """Return what nova-compute has logged on a host."""
        path = self._cloud.layout.log(f'nova-compute-{node}')
        with open(path, encoding='utf-8') as f:
            return f.read()


def _command(number):
    """Return the command line of a QEMU, '' if a process is none."""
    try:
        with open(f'/proc/{number}/cmdline', encoding='utf-8') as f:
            command = f.read()
    except OSError:  # ended meanwhile
        return ''
    return command if 'qemu-system' in command.partition('\0')[0] else ''
