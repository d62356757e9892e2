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


"""As whom nova-compute runs, and what it starts."""

import contextlib
import dataclasses
import os
import threading

_INTERVAL_S = 0.2


@dataclasses.dataclass(frozen=True)
class Process:
    """A process as it was at some time.

    :ivar user_ids: real, effective, saved and of files
    :ivar capabilities: the effective ones, a bit mask
    """

    command: str
    user_ids: tuple[int, ...]
    capabilities: int

    @property
    def is_sudo(self):
        return os.path.basename(self.command.partition(' ')[0]) == 'sudo'


class Watch(threading.Thread):
    """Sees, within its context, some processes and all that they start.

    Not what sudo starts: that is root's by its nature.

    :param roots: process ids
    :ivar seen: Processes, a set
    """

    def __init__(self, roots):
        super().__init__(name='watch', daemon=True)
        self.seen = set()
        self._roots = roots
        self._ended = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_exc):
        self._ended.set()
        self.join()

    def run(self):
        while not self._ended.wait(_INTERVAL_S):
            children = _children()
            pids = list(self._roots)
            while pids:
                pid = pids.pop()
                with contextlib.suppress(OSError):  # ended meanwhile
                    found = of(pid)
                    self.seen.add(found)
                    if not found.is_sudo:
                        pids += children.get(pid, ())

    def running(self, program):
        """Return the Processes that had a word in their command lines."""
        return [each for each in self.seen if program in each.command]


def of(pid):
    """Return the Process of an id.

    :raises: OSError if it is not there
    """
    status = _status(pid)
    # after the status: sudo is known for what it is once it is root
    with open(f'/proc/{pid}/cmdline', encoding='utf-8',
              errors='replace') as f:
        command = f.read().rstrip('\0').replace('\0', ' ')
    return Process(command, tuple(map(int, status['Uid'].split())),
                   int(status['CapEff'], 16))


def _children():
    """Return {process id: the ids of its children}."""
    children = {}
    for entry in filter(str.isdigit, os.listdir('/proc')):
        with contextlib.suppress(OSError):
            parent = int(_status(entry)['PPid'])
            children.setdefault(parent, []).append(int(entry))
    return children


def _status(pid):
    """Return the fields of /proc/PID/status, see proc(5)."""
    with open(f'/proc/{pid}/status', encoding='utf-8', errors='replace') as f:
        return dict(line.rstrip('\n').split(':\t', 1) for line in f
                    if ':\t' in line)
