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

Source: Documentation/admin-guide/mm/ksm.rst, mm/ksm.c, and fs/proc/array.c for
ksmd's times.
"""

import contextlib
import dataclasses
import os
import time

from nova_flexmem import exception
from nova_flexmem.host import ksm_switch
from nova_flexmem.host import pages

#: ksmd looks at a page twice before it merges it, to see that it does not
#: change. It goes on where it stopped the last time, so the first of these
#: scans is only the rest of one.
_SCANS = 3

_POLL_S = 0.2

#: For how long ksmd must take no time to have nothing to do. It sleeps where
#: no process has memory that may be merged, and then no scan ever ends.
_IDLE_S = 10.0


@dataclasses.dataclass(frozen=True)
class Counters:
    """KSM at one time.

    :ivar shared_bytes: what it keeps, each merged page once
    :ivar saved_bytes: what all that share them would have besides
    :ivar profit_bytes: of saved_bytes, what is left after KSM's own records
        of all pages it looked at; None before Linux 6.4
    """

    run: int
    full_scans: int
    shared_bytes: int
    saved_bytes: int
    profit_bytes: int | None = None


@dataclasses.dataclass(frozen=True)
class Scan:
    """One bounded scan.

    :ivar cpu_s: of ksmd
    :ivar saved_before_bytes: what was merged already
    :ivar complete: whether it ended by itself, not by its limit of time or
        because it was no longer wanted
    """

    seconds: float
    cpu_s: float
    full_scans: int
    saved_before_bytes: int
    saved_bytes: int
    complete: bool
    profit_bytes: int | None = None


def counters(folder=ksm_switch.FOLDER):
    """Return the Counters.

    :param folder: of the kernel's files
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
    """Return the processor time that ksmd took since the host booted.

    :raises: KsmUnusable if there is no ksmd
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
    raise exception.KsmUnusable(reason='the kernel thread ksmd is not there')


def scan_once(*, limit_s, switch=None, unwanted=lambda: False):
    """Have KSM scan until it has merged what is there to merge, then stop.

    What is merged stays so. It also ends where no process has memory that may
    be merged. Smart scanning is off for the time (Linux 6.7): it passes over
    pages that found no partner before.

    :param limit_s: it stops after so many seconds in any case
    :param switch: has scan(), off() and folder as a ksm_switch.Switch has;
        without it, that of this host
    :param unwanted: called without arguments, tells whether to stop at once
    :returns: the Scan
    :raises: KsmUnusable if KSM is on already, or not to be had
    """
    switch = switch or ksm_switch.Switch()
    began, before_s = time.monotonic(), cpu_s()
    before = counters(switch.folder)
    switch.scan()
    looked_s, worked_s = 0.0, before_s
    try:
        while True:
            now = counters(switch.folder)
            seconds = time.monotonic() - began
            complete = now.full_scans >= before.full_scans + _SCANS
            if seconds - looked_s >= _IDLE_S:
                looked_s, before_that_s, worked_s = seconds, worked_s, cpu_s()
                complete = complete or worked_s == before_that_s
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
    """Have KSM scan for as long as the context lasts; unmerge at its end.

    :raises: KsmUnusable if KSM is on already, or not to be had
    """
    switch = switch or ksm_switch.Switch()
    switch.on(pages_to_scan=pages_to_scan, sleep_millisecs=sleep_ms)
    try:
        yield
    finally:
        switch.off(unmerge=True)


@contextlib.contextmanager
def unmerged_at_end(switch=None):
    """Unmerge at the end of the context whatever is merged then."""
    try:
        yield
    finally:
        (switch or ksm_switch.Switch()).off(unmerge=True)
