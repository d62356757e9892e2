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

"""Processes by their id: alive or not, in which mount namespace, ended."""

import os
import signal
import time

_END_TIMEOUT_S = 20


def started(pid):
    """Return when a process was started, or None if there is none.

    The value is the field starttime of proc(5); with the id it tells one
    process from all others since the machine booted.
    """
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8') as f:
            state, *fields = f.read().rpartition(')')[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in 'ZX' else int(fields[18])


def record(path, pid):
    """Write a process into a file."""
    with open(path, 'w', encoding='ascii') as f:
        f.write(f'{pid} {started(pid)}\n')


def recorded(path):
    """Return the process of a file, or None if it runs no more."""
    try:
        with open(path, encoding='ascii') as f:
            pid, when = f.read().split()
    except FileNotFoundError:
        return None
    return int(pid) if str(started(pid)) == when else None


def in_mount_namespace(name):
    """Return the processes in a mount namespace.

    :param name: what /proc/PID/ns/mnt links to
    """
    pids = []
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            try:
                if os.readlink(f'/proc/{entry}/ns/mnt') == name:
                    pids.append(int(entry))
            except OSError:  # ended meanwhile
                continue
    return pids


def send(pids, number):
    """Send a signal to processes; those that ended meanwhile are left out."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def end(pids, *, timeout_s):
    """End processes: SIGTERM, and SIGKILL after timeout_s seconds."""
    send(pids, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while any(started(pid) for pid in pids):
        if time.monotonic() > deadline:
            send(pids, signal.SIGKILL)
        if time.monotonic() > deadline + _END_TIMEOUT_S:
            raise TimeoutError(f'{pids} do not end, not even by SIGKILL')
        time.sleep(0.05)
