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

Source: Documentation/admin-guide/mm/ksm.rst, fs/proc/array.c for ksmd's times.
All functions take the folder of KSM's files, for tests.
"""

import contextlib
import dataclasses
import os
import time

from nova_flexmem import exception
from nova_flexmem.host import pages

FOLDER = '/sys/kernel/mm/ksm'

_STOP, _RUN, _UNMERGE = 0, 1, 2

#: A page is merged when a whole scan saw that it does not change and a later
#: one finds the like of it: two scans, and the one that is under way when it
#: begins is none.
_SCANS = 3

_POLL_S = 0.2


@dataclasses.dataclass(frozen=True)
class Counters:
    """KSM at one time.

    :ivar shared_bytes: what it keeps, each merged page once
    :ivar saved_bytes: what all that share them would have besides
    """

    run: int
    full_scans: int
    shared_bytes: int
    saved_bytes: int


@dataclasses.dataclass(frozen=True)
class Scan:
    """One bounded scan.

    :ivar cpu_s: of ksmd
    :ivar saved_before_bytes: what was merged already
    :ivar complete: whether it ended by itself, not by its limit of time
    """

    seconds: float
    cpu_s: float
    full_scans: int
    saved_before_bytes: int
    saved_bytes: int
    complete: bool


def counters(folder=FOLDER):
    """Return the Counters.

    :raises: HostUnfit if the kernel has no KSM
    """
    return Counters(_number(folder, 'run'), _number(folder, 'full_scans'),
                    _number(folder, 'pages_shared') * pages.PAGE_BYTES,
                    _number(folder, 'pages_sharing') * pages.PAGE_BYTES)


def cpu_s():
    """Return the processor time that ksmd took since the host booted.

    :raises: HostUnfit if there is no ksmd
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
    raise exception.HostUnfit(reason='the kernel thread ksmd is not there')


def scan_once(*, pages_to_scan, sleep_ms, limit_s, folder=FOLDER):
    """Have KSM scan until it has merged what is there to merge, then stop.

    What is merged stays so. Smart scanning is off for the time (Linux 6.7):
    it passes over pages that found no partner before.

    :param pages_to_scan: how many pages ksmd looks at before it sleeps
    :param sleep_ms: how long it sleeps
    :param limit_s: it stops after so many seconds in any case
    :returns: the Scan
    :raises: HostUnfit if KSM is on already, or not to be had
    """
    began, before_s = time.monotonic(), cpu_s()
    with _running(folder, _STOP, {
            'smart_scan': '0', 'pages_to_scan': str(pages_to_scan),
            'sleep_millisecs': str(sleep_ms)}) as before:
        while True:
            now = counters(folder)
            seconds = time.monotonic() - began
            complete = now.full_scans >= before.full_scans + _SCANS
            if complete or seconds > limit_s:
                break
            time.sleep(_POLL_S)
    return Scan(seconds, cpu_s() - before_s,
                now.full_scans - before.full_scans, before.saved_bytes,
                now.saved_bytes, complete)


@contextlib.contextmanager
def always_on(pages_to_scan, sleep_ms, folder=FOLDER):
    """Have KSM scan for as long as the context lasts; unmerge at its end.

    :raises: HostUnfit if KSM is on already, or not to be had
    """
    with _running(folder, _UNMERGE, {
            'pages_to_scan': str(pages_to_scan),
            'sleep_millisecs': str(sleep_ms)}):
        yield


@contextlib.contextmanager
def unmerged_at_end(folder=FOLDER):
    """Unmerge at the end of the context whatever is merged then."""
    try:
        yield
    finally:
        _write(folder, 'run', str(_UNMERGE))
        _write(folder, 'run', str(_STOP))


@contextlib.contextmanager
def _running(folder, at_end, settings):
    """Have KSM scan; give the Counters from before.

    :param at_end: what to write to its file run at the end
    :param settings: {name: text}, those that the kernel has are set meanwhile
    """
    before = counters(folder)
    if before.run == _RUN:
        raise exception.HostUnfit(
            reason='KSM is scanning already (/sys/kernel/mm/ksm/run is 1);'
            ' whoever switched it on, such as ksmtuned, decides when it stops')
    # first, since the advisor would change others
    settings = {'advisor_mode': 'none', **settings}
    former = {name: _text(folder, name) for name in settings
              if os.path.exists(os.path.join(folder, name))}
    try:
        for name in former:
            _write(folder, name, settings[name])
        _write(folder, 'run', str(_RUN))
        yield before
    finally:
        _write(folder, 'run', str(at_end))
        _write(folder, 'run', str(_STOP))
        for name, text in reversed(former.items()):
            _write(folder, name, text)


def _text(folder, name):
    try:
        with open(os.path.join(folder, name), encoding='ascii') as f:
            text = f.read().strip()
    except OSError as e:
        raise exception.HostUnfit(
            reason=f'{os.path.join(folder, name)}: {e.strerror}; this kernel'
            ' has no KSM, or it is not to be seen here')
    # a choice is the word in brackets
    return text.partition('[')[2].partition(']')[0] if '[' in text else text


def _number(folder, name):
    return int(_text(folder, name))


def _write(folder, name, text):
    path = os.path.join(folder, name)
    try:
        with open(path, 'w', encoding='ascii') as f:
            f.write(text)
    except OSError as e:
        raise exception.HostUnfit(
            reason=f'{path} can not be set to {text} ({e.strerror}); only'
            ' root may')
