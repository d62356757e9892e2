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

"""Machines of the cloud: mount and UTS namespaces of this one.

A machine is known by a process that does nothing but hold its namespaces.
All else that runs in it is in the same mount namespace, however it was
started, and ends with the machine.
"""

import os
import signal
import subprocess
import time

from oslo_utils import units

from nova_flexmem import exception as base_exception
from nova_flexmem import process
from tools.cloud import exception
from tools.cloud import pid

_END_TIMEOUT_S = 30

#: A host's programs may map more than the helpers of a build.
_LIMITS = process.Limits(address_space_bytes=64 * units.Gi, cpu_s=3600)

_HOLD = '''\
hostname "$1"
shift
while [ $# -gt 0 ]; do mount --bind "$1" "$2"; shift 2; done
echo ready
exec sleep infinity > /dev/null
'''


class Machine:
    """One machine, up or not."""

    def __init__(self, name, layout):
        self.name = name
        self._layout = layout
        self._file = layout.path('run', f'machine-{name}')
        self.tmp = layout.path(name, 'tmp')

    @property
    def pid(self):
        """The process that holds the namespaces, or None."""
        return pid.recorded(self._file)

    def start(self, mounts=()):
        """Make the namespaces.

        :param mounts: pairs: a file or folder, and what it is to cover
        :raises: CloudFailed
        """
        pairs = [path for pair in mounts for path in pair]
        with open(self._layout.log(f'machine-{self.name}'), 'ab') as log_file:
            holder = subprocess.Popen(
                ['unshare', '--mount', '--uts', '--propagation', 'private',
                 '--', 'sh', '-ec', _HOLD, 'sh', self.name, *pairs],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=log_file, env=process.environment(),
                start_new_session=True)
        with holder.stdout:
            ready = holder.stdout.readline()
        if not ready:
            holder.wait()
            raise exception.CloudFailed(
                reason=f'{self.name}: no namespaces could be made; '
                + self._layout.log(f'machine-{self.name}') + ' says why')
        pid.record(self._file, holder.pid)

    def command(self, *argv):
        """Return the words that run a program in this machine."""
        if self.pid is None:
            raise exception.CloudFailed(reason=f'{self.name} is not up')
        return ('nsenter', f'--target={self.pid}', '--mount', '--uts', '--',
                *argv)

    def run(self, *argv, timeout_s=60, **kwargs):
        """Run a program in this machine; see nova_flexmem.process.run()."""
        env = {'TMPDIR': self.tmp} | (kwargs.pop('env', None) or {})
        try:
            return process.run(*self.command(*argv), timeout_s=timeout_s,
                               env=env, limits=_LIMITS, **kwargs)
        except base_exception.ProgramFailed as e:
            raise exception.CloudFailed(
                reason=f'{self.name}: {" ".join(argv)}: {e.kwargs["reason"]}')

    def prepare(self, *argv, log_path, timeout_s, env):
        """Run a program in this machine whose output goes to a log.

        :raises: ServiceFailed with the end of the log
        """
        popen = self._start(argv, log_path, env)
        try:
            code = popen.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()
            code = f'no end after {timeout_s} s'
        if code != 0:
            raise exception.ServiceFailed(service=' '.join(argv), log=log_path,
                                          what=f'failed ({code})')

    def spawn(self, *argv, log_path, env):
        """Start a program in this machine that runs on when we end.

        :returns: its process id
        """
        return self._start(argv, log_path, env).pid

    def end(self):
        """End all that runs in the machine, as a power cut would."""
        holder = self.pid
        if holder is None:
            return
        namespace = os.readlink(f'/proc/{holder}/ns/mnt')
        if namespace == os.readlink('/proc/self/ns/mnt'):
            # never, unless somebody wrote the file that names the process
            raise exception.CloudFailed(
                reason=f'{self._file}: process {holder} is no machine')
        deadline = time.monotonic() + _END_TIMEOUT_S
        while True:
            pids = pid.in_mount_namespace(namespace)
            living = [each for each in pids if pid.started(each)]
            if not living:
                break
            if time.monotonic() > deadline:
                raise exception.CloudFailed(
                    reason=f'{self.name}: processes {living} do not end')
            pid.send(living, signal.SIGKILL)
            time.sleep(0.05)
        os.unlink(self._file)

    def _start(self, argv, log_path, env):
        environment = process.environment(TMPDIR=self.tmp) | env
        with open(log_path, 'ab') as log_file:
            return subprocess.Popen(
                self.command(*argv), stdin=subprocess.DEVNULL,
                stdout=log_file, stderr=log_file, env=environment, cwd='/',
                start_new_session=True)
