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

"""The kernel's samepage merging (KSM): its counters, and bounded scans.

Sources: Documentation/admin-guide/mm/ksm.rst and mm/ksm.c; fs/proc/array.c for
the times of ksmd.
"""

import contextlib
import dataclasses
import os
import time

from nova_flexmem import exception
from nova_flexmem.host import ksm_switch
from nova_flexmem.host import pages

#: ksmd merges a page only if it finds it unchanged in the next full scan. It
#: continues where it stopped the last time, so the first of these scans is the
#: rest of an earlier one.
_SCANS = 3

_POLL_S = 0.2

#: If ksmd takes no CPU time for so many seconds, it has nothing to do. It
#: sleeps if no process has mergeable memory, and then full_scans never grows.
_IDLE_S = 10.0


@dataclasses.dataclass(frozen=True)
class Counters:
    """KSM's counters at one time.

    :ivar run: 0 off, 1 scanning, 2 off and unmerged
    :ivar full_scans: how often it has scanned all mergeable memory
    :ivar shared_bytes: size of the merged pages, each once
    :ivar saved_bytes: memory that the further copies of these pages would take
    :ivar profit_bytes: saved_bytes less the memory of KSM's own records; None
        before Linux 6.4
    """

    run: int
    full_scans: int
    shared_bytes: int
    saved_bytes: int
    profit_bytes: int | None = None


@dataclasses.dataclass(frozen=True)
class Scan:
    """The result of a bounded scan.

    :ivar seconds: its duration
    :ivar cpu_s: processor time that ksmd took
    :ivar full_scans: how often it scanned all mergeable memory
    :ivar saved_before_bytes: Counters.saved_bytes before the scan
    :ivar saved_bytes: the same after the scan
    :ivar complete: whether the scan ended by itself; False if it reached its
        time limit or was no longer wanted
    :ivar profit_bytes: Counters.profit_bytes after the scan
    """

    seconds: float
    cpu_s: float
    full_scans: int
    saved_before_bytes: int
    saved_bytes: int
    complete: bool
    profit_bytes: int | None = None


def counters(folder=ksm_switch.FOLDER):
    """Return KSM's Counters.

    :param folder: folder of the kernel's files
    :raises: KsmUnusable if the kernel has no KSM
    """
    return Counters(
        ksm_switch.number(folder, 'run'),
        ksm_switch.number(folder, 'full_scans'),
        ksm_switch.number(folder, 'pages_shared') * pages.PAGE_BYTES,
        ksm_switch.number(folder, 'pages_sharing') * pages.PAGE_BYTES,
        ksm_switch.number(folder, 'general_profit')
        if os.path.exists(os.path.join(folder, 'general_profit')) else None)


def cpu_s():
    """Return the processor time of ksmd since the host booted, in seconds.

    :raises: KsmUnusable if the kernel thread ksmd does not run
    """
    for name in filter(str.isdigit, os.listdir('/proc')):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(f'/proc/{name}/stat', encoding='utf-8',
                      errors='replace') as f:
                start, _, rest = f.read().rpartition(')')
            if start.endswith('(ksmd'):
                user, system = rest.split()[11:13]
                return ((int(user) + int(system))
                        / os.sysconf('SC_CLK_TCK'))
    raise exception.KsmUnusable(
        reason='the kernel thread ksmd does not run or is not visible here;'
        ' run this on a host whose kernel has KSM (CONFIG_KSM), outside of'
        ' containers')


def scan_once(*, limit_s, switch=None, unwanted=lambda: False):
    """Run KSM until it has merged all equal pages, then switch it off.

    Merged pages stay merged. The scan ends at once if no process has mergeable
    memory. Smart scanning (Linux 6.7) is off meanwhile, as it skips pages that
    had no equal page before.

    :param limit_s: maximum duration of the scan, in seconds
    :param switch: has scan(), off() and folder like ksm_switch.Switch; None:
        the ksm_switch.Switch of this host
    :param unwanted: called without arguments; the scan stops when it returns
        True
    :returns: Scan
    :raises: KsmUnusable if KSM is on already or not available
    """
    switch = switch or ksm_switch.Switch()
    began, before_s = time.monotonic(), cpu_s()
    before = counters(switch.folder)
    switch.scan()
    checked_s, last_cpu_s = 0.0, before_s
    try:
        while True:
            now = counters(switch.folder)
            seconds = time.monotonic() - began
            complete = now.full_scans >= before.full_scans + _SCANS
            if seconds - checked_s >= _IDLE_S:
                checked_s, now_cpu_s = seconds, cpu_s()
                complete = complete or now_cpu_s == last_cpu_s
                last_cpu_s = now_cpu_s
            if complete or seconds > limit_s or unwanted():
                break
            time.sleep(_POLL_S)
    finally:
        switch.off()
    return Scan(seconds, cpu_s() - before_s,
                now.full_scans - before.full_scans, before.saved_bytes,
                now.saved_bytes, complete, now.profit_bytes)


@contextlib.contextmanager
def always_on(pages_to_scan=ksm_switch.PAGES_TO_SCAN,
              sleep_ms=ksm_switch.SLEEP_MS, switch=None):
    """Run KSM as long as the context lasts; unmerge all pages at its end.

    :param pages_to_scan: pages that ksmd scans before it sleeps
    :param sleep_ms: how long it sleeps, in milliseconds
    :param switch: a ksm_switch.Switch; None: that of this host
    :raises: KsmUnusable if KSM is on already or not available
    """
    switch = switch or ksm_switch.Switch()
    switch.on(pages_to_scan=pages_to_scan, sleep_millisecs=sleep_ms)
    try:
        yield
    finally:
        switch.off(unmerge=True)


@contextlib.contextmanager
def unmerged_at_end(switch=None):
    """Switch KSM off and unmerge all pages at the end of the context."""
    try:
        yield
    finally:
        (switch or ksm_switch.Switch()).off(unmerge=True)
