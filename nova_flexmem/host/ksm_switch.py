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

"""Switching the kernel's samepage merging (KSM) on for a while, as root.

What was set before is kept in a file meanwhile: whoever comes next can put it
back if the process that switched KSM on was killed. The file is in /run, and
so gone when the settings are, at a reboot.

Source: Documentation/admin-guide/mm/ksm.rst.
"""

import json
import os

from nova_flexmem import exception
from nova_flexmem.host import sysfs

FOLDER = '/sys/kernel/mm/ksm'

STATE = '/run/nova-flexmem/ksm.json'

_STOP, RUNS, _UNMERGE = 0, 1, 2

#: How fast KSM goes: so many pages, then a sleep. ksmtuned ends up
#: with this on a host that is short of memory.
PAGES_TO_SCAN, SLEEP_MS = 1250, 10


class Switch:
    """KSM's switch.

    :param folder: of the kernel's files
    :param state: the file that keeps what was set before
    """

    def __init__(self, folder=FOLDER, state=STATE):
        self.folder = folder
        self._state = state

    def on(self, **settings):
        """Have KSM scan.

        :param settings: {name of a file: number}; those that the kernel has
            are set until off()
        :raises: KsmUnusable if KSM is on already, or not to be had
        """
        self.put_back()
        self.check_off()
        # first, since the advisor would change others
        settings = {'advisor_mode': 'none', **settings}
        former = {name: text(self.folder, name) for name in settings
                  if os.path.exists(os.path.join(self.folder, name))}
        self._keep(former)
        try:
            for name in former:
                _write(self.folder, name, settings[name])
            _write(self.folder, 'run', RUNS)
        except BaseException:
            self.off()
            raise

    def scan(self):
        """Have KSM scan as a bounded scan goes, see ksm.scan_once().

        :raises: KsmUnusable as on() does
        """
        self.on(smart_scan=0, pages_to_scan=PAGES_TO_SCAN,
                sleep_millisecs=SLEEP_MS)

    def off(self, *, unmerge=False):
        """Have KSM scan no more, with the settings from before on().

        What is merged stays merged.

        :param unmerge: take apart what is merged
        :raises: KsmUnusable
        """
        if unmerge:
            _write(self.folder, 'run', _UNMERGE)
        _write(self.folder, 'run', _STOP)
        if kept := self._kept():
            for name, former in reversed(kept['former'].items()):
                _write(self.folder, name, former)
            os.unlink(self._state)

    def check_off(self):
        """Check that nobody else has KSM scan.

        :raises: KsmUnusable if so, or if it is not to be had
        """
        if number(self.folder, 'run') != RUNS:
            return
        kept = self._kept()
        if kept:
            raise exception.KsmUnusable(
                reason=f'process {kept["pid"]} has it scan already; wait'
                ' until that has ended')
        raise exception.KsmUnusable(
            reason=f'it is scanning already ({self.folder}/run is {RUNS});'
            ' whoever switched it on, such as ksmtuned, decides when it'
            ' stops')

    def abandoned(self):
        """Return whether a process did on() and was killed before off().

        Takes no root.

        :raises: KsmUnusable
        """
        kept = self._kept()
        return bool(kept) and kept['started'] != _started(kept['pid'])

    def put_back(self):
        """Switch KSM off if a process did on() and was killed before off().

        :raises: KsmUnusable
        """
        if self.abandoned():
            self.off()

    def release(self):
        """Do off() if on() is this process's, and else put_back().

        :raises: KsmUnusable
        """
        kept = self._kept()
        if kept and kept['pid'] == os.getpid():
            self.off()
        else:
            self.put_back()

    def _keep(self, former):
        made = json.dumps({'pid': os.getpid(), 'started': _started('self'),
                           'former': former})
        try:
            os.makedirs(os.path.dirname(self._state), mode=0o755,
                        exist_ok=True)
            self._check_owner()
            # whoever comes second fails, and the file is there as a whole
            temporary = f'{self._state}.{os.getpid()}'
            descriptor = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            with open(descriptor, 'w', encoding='ascii') as f:
                f.write(made)
            try:
                os.link(temporary, self._state)
            finally:
                os.unlink(temporary)
        except OSError as e:
            raise exception.KsmUnusable(
                reason=f'{self._state} cannot be made ({e.strerror}); only'
                ' root may, one at a time')

    def _kept(self):
        try:
            self._check_owner()
            with open(self._state, encoding='ascii') as f:
                return json.load(f)
        except FileNotFoundError:
            return None

    def _check_owner(self):
        """Check that nobody else can say what root is to put back."""
        folder = os.path.dirname(self._state)
        owner = os.stat(folder).st_uid
        if owner not in (0, os.geteuid()):
            raise exception.KsmUnusable(
                reason=f'{folder} belongs to user {owner}, not to root; remove'
                ' it')


def _started(pid):
    """Return when a process started, or None if it is not there."""
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8',
                  errors='replace') as f:
            return f.read().rpartition(')')[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None


def text(folder, name):
    """Return what is in a file of KSM's, the chosen word of a choice.

    :raises: KsmUnusable if the kernel has no KSM
    """
    try:
        return sysfs.setting(os.path.join(folder, name))
    except OSError as e:
        raise exception.KsmUnusable(
            reason=f'{os.path.join(folder, name)}: {e.strerror}; this kernel'
            ' has no KSM, or it is not to be seen here')


def number(folder, name):
    """Return the number in a file of KSM's.

    :raises: KsmUnusable if the kernel has no KSM
    """
    return int(text(folder, name))


def _write(folder, name, value):
    path = os.path.join(folder, name)
    try:
        with open(path, 'w', encoding='ascii') as f:
            f.write(str(value))
    except OSError as e:
        raise exception.KsmUnusable(
            reason=f'{path} cannot be set to {value} ({e.strerror}); only'
            ' root may')
