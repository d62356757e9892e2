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

"""How long, and how many, builds of instances wait for builds of bases.

An instance that waits in spawn() keeps one of Nova's build slots
(max_concurrent_builds). If all of them waited for bases, no instance could be
built on the host, whatever its image.
"""

import contextlib
import threading
import time

from oslo_concurrency import lockutils

from nova_flexmem import exception

#: Seconds between two attempts to take a lock that another holds.
_PAUSE_S = 0.5


class Deadline:
    """Until when a caller can wait.

    :param seconds: from now on; None: for ever
    """

    def __init__(self, seconds):
        self._seconds = seconds
        self._end_s = None if seconds is None else time.monotonic() + seconds

    @property
    def left_s(self):
        """Seconds that are left, or None."""
        if self._end_s is None:
            return None
        return max(0.0, self._end_s - time.monotonic())

    def give_up(self):
        """Raise HostBusy."""
        raise exception.HostBusy(
            reason=f'its other builds of bases took over {self._seconds} s,'
            ' [flexmem] build_wait_s')


@contextlib.contextmanager
def locked(lock, deadline):
    """Hold a lock that may have to be waited for; a context manager.

    :param lock: called with blocking=...; returns a context manager that
        raises AcquireLockFailedException as lockutils.lock() does
    :param deadline: a Deadline
    :raises: HostBusy
    """
    if deadline.left_s is None:
        with lock(blocking=True):
            yield
        return
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(lock(blocking=False))
                break
            except lockutils.AcquireLockFailedException:
                if not deadline.left_s:
                    deadline.give_up()
            time.sleep(_PAUSE_S)
        yield


class Slots:
    """Lets a number of builds of bases run, and a number wait.

    :param running: how many may run
    :param waiting: how many that have a deadline may wait
    """

    def __init__(self, running, waiting):
        self._slots = threading.BoundedSemaphore(running)
        self._room = threading.BoundedSemaphore(waiting) if waiting else None
        self._waiting = waiting

    @contextlib.contextmanager
    def take(self, deadline):
        """Have a slot; a context manager.

        :param deadline: a Deadline
        :raises: HostBusy
        """
        self._acquire(deadline)
        try:
            yield
        finally:
            self._slots.release()

    def _acquire(self, deadline):
        if self._slots.acquire(blocking=False):
            return
        if deadline.left_s is None:
            self._slots.acquire()
            return
        if self._room is None or not self._room.acquire(blocking=False):
            raise exception.HostBusy(
                reason=f'{self._waiting} other builds of bases are waiting,'
                ' [flexmem] max_waiting_builds')
        try:
            if not self._slots.acquire(timeout=deadline.left_s):
                deadline.give_up()
        finally:
            self._room.release()
