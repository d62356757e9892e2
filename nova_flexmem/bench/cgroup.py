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

"""A control group with a limit on memory, of either version.

See Documentation/admin-guide/cgroup-v2.rst, and cgroup-v1/memory.rst.
"""

import contextlib
import errno
import os
import time
import uuid

from nova_flexmem import exception

_ROOT = '/sys/fs/cgroup'

#: Within which the last process must have gone.
_END_S = 15


class Cgroup:
    """A control group for memory; a context manager.

    :param limit_bytes: how much its processes may have
    :raises: BenchFailed if this user, or this host, has none to give
    """

    def __init__(self, limit_bytes):
        self._limit_bytes = limit_bytes
        self._version_2 = os.path.exists(
            os.path.join(_ROOT, 'cgroup.controllers'))
        self._path = os.path.join(
            _ROOT, '' if self._version_2 else 'memory',
            f'flexmem-bench-{uuid.uuid4().hex[:8]}')
        self._refused = False

    def __enter__(self):
        try:
            if self._version_2:
                with open(os.path.join(_ROOT, 'cgroup.subtree_control'),
                          'w') as f:
                    f.write('+memory')
            os.mkdir(self._path)
            self._set_limit()
            # swapping would hide that memory is short
            if self._version_2:
                self._write('memory.swap.max', '0')
            else:
                self._write('memory.swappiness', '0')
        except OSError as e:
            self.__exit__()
            raise exception.BenchFailed(
                reason=f'{self._path}: no control group with a limit on'
                f' memory can be made ({e}); only root can make one, and not'
                ' in a container without control groups of its own')
        return self

    def __exit__(self, *_exc_info):
        deadline = time.monotonic() + _END_S
        with contextlib.suppress(FileNotFoundError):
            while True:
                try:
                    os.rmdir(self._path)
                    return
                except OSError as e:
                    # a process that was ended may take a while to go
                    if e.errno != errno.EBUSY or time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)

    def take(self, pid, charged_elsewhere_bytes):
        """Move a process into the group.

        The memory that it has already stays charged to its old group, so the
        limit is lowered by that much.

        :raises: OSError, after which ran_out() tells whether that is why
        """
        self._write('cgroup.procs', str(pid))
        self._limit_bytes -= charged_elsewhere_bytes
        try:
            self._set_limit()
        except OSError as e:
            # version 1 refuses a limit below what cannot be reclaimed
            self._refused = e.errno == errno.EBUSY
            raise

    def ran_out(self):
        """Return whether its processes needed more memory than the limit."""
        return self._refused or self._oom_kills() > 0

    def _oom_kills(self):
        """Return how often the kernel killed one of its processes."""
        name = 'memory.events' if self._version_2 else 'memory.oom_control'
        with open(os.path.join(self._path, name), encoding='ascii') as f:
            return int(dict(line.split() for line in f)['oom_kill'])

    def _set_limit(self):
        self._write('memory.max' if self._version_2
                    else 'memory.limit_in_bytes', str(self._limit_bytes))

    def _write(self, name, text):
        with open(os.path.join(self._path, name), 'w', encoding='ascii') as f:
            f.write(text)
