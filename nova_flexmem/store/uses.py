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

"""Who uses which base: records that outlive processes and host boots.

A record is an empty file USES/KEY/USER; the folder's time of change is when
a base was last taken into use or given back. USES/KEY.clock has the same by
the time since the host's boot: the host's clock may be set meanwhile.
"""

import contextlib
import json
import os
import re
import time

from nova_flexmem import hostboot

_USER = re.compile(r'[\w.-]{1,255}')


class Uses:
    """The use records in a folder.

    :param read_only: records that are lost are not started anew
    """

    def __init__(self, folder, *, read_only=False):
        self._folder = folder
        self._read_only = read_only

    def begin(self, key):
        """Start the records of a base; its time out of use starts as well."""
        os.makedirs(self._of(key), exist_ok=True)
        os.utime(self._of(key))  # a build that was killed may have left it
        self._write_clock(key)

    def end(self, key):
        """Drop the records of a base that nobody uses."""
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(self._of(key))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._clock(key))

    def add(self, key, user):
        """Record a user of a base."""
        record = self._record(key, user)
        os.makedirs(self._of(key), exist_ok=True)
        open(record, 'a').close()
        self._write_clock(key)

    def discard(self, key, user):
        """Take a record back, if there is one."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._record(key, user))
            self._write_clock(key)

    def users(self, key):
        """Return the recorded users of a base, sorted."""
        try:
            return sorted(os.listdir(self._of(key)))
        except FileNotFoundError:
            return []

    def unused_s(self, key):
        """Return the seconds since the records of a base last changed.

        They count the same whatever the host's clock is set to, but for
        records from before the host's boot: there it has to be believed.
        """
        if not os.path.isdir(self._of(key)):
            if self._read_only:
                return 0.0
            self.begin(key)
        changed_ns = os.stat(self._of(key)).st_mtime_ns
        by_clock_s = time.time() - changed_ns / 1e9
        clock = self._read_clock(key)
        if clock is None or clock[2] != changed_ns:
            return max(0.0, by_clock_s)
        now_s = hostboot.since_boot_s()
        if clock[0] == hostboot.boot_id():
            return now_s - clock[1]
        return max(now_s, by_clock_s)

    def _write_clock(self, key):
        with contextlib.suppress(OSError):  # a full disk; the clock must do
            clock = [hostboot.boot_id(), hostboot.since_boot_s(),
                     os.stat(self._of(key)).st_mtime_ns]
            with open(self._clock(key), 'w', encoding='ascii') as f:
                json.dump(clock, f)

    def _read_clock(self, key):
        """Return what _write_clock() wrote, or None."""
        try:
            with open(self._clock(key), encoding='ascii') as f:
                boot_id, since_boot_s, changed_ns = json.load(f)
                return boot_id, float(since_boot_s), changed_ns
        except (OSError, ValueError, TypeError):
            return None  # of an older version, or torn

    def _clock(self, key):
        return f'{self._of(key)}.clock'

    def _of(self, key):
        return os.path.join(self._folder, key)

    def _record(self, key, user):
        if not _USER.fullmatch(user) or user in ('.', '..'):
            raise ValueError(f'{user!r} cannot be a file name')
        return os.path.join(self._of(key), user)


def mapping(paths):
    """Return {path: ids of the processes that map the file}.

    /proc is read once for all of them. Processes of other users are seen by
    root alone, and none of another process namespace, such as those outside of
    a container. A process in another mount namespace may have another path to
    the file, so its folder and name count.
    """
    pids: dict[str, list[str]] = {path: [] for path in paths}
    by_inode: dict[str, list[str]] = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            by_inode.setdefault(str(os.stat(path).st_ino), []).append(path)
    for pid in filter(str.isdigit, os.listdir('/proc') if by_inode else ()):
        with contextlib.suppress(OSError):  # it ended, or we may not look
            for path in _mapped(pid, by_inode):
                pids[path].append(pid)
    return pids


def _mapped(pid, by_inode):
    """Return which of some files a process maps.

    :param by_inode: {inode number: paths}
    """
    mapped: set[str] = set()
    with open(f'/proc/{pid}/maps') as f:
        for line in f:
            # address perms offset dev inode path, see proc(5)
            fields = line.rstrip('\n').split(None, 5)
            if len(fields) == 6 and fields[4] in by_inode:
                mapped.update(path for path in by_inode[fields[4]]
                              if fields[5].endswith(_tail(path)))
    return mapped


def _tail(path):
    """Return the end of a path as the kernel names it: /FOLDER/NAME."""
    folder, name = os.path.split(os.path.realpath(path))
    return f'/{os.path.basename(folder)}/{name}'


def belongs_to(pid, users):
    """Return whether a process has one of some users in its command line.

    As QEMU has its instance's uuid.
    """
    try:
        with open(f'/proc/{pid}/cmdline', encoding='utf-8',
                  errors='replace') as f:
            return not set(users).isdisjoint(f.read().split('\0'))
    except OSError:
        return False
