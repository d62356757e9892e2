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

"""Switches the kernel's samepage merging (KSM) on for a while, as root.

The settings from before are kept in a file meanwhile, so that another process
can restore them if this one is killed. The file is in /run: a reboot removes
it, and resets the settings, too.

Source: Documentation/admin-guide/mm/ksm.rst.
"""

import json
import os

from nova_flexmem import exception
from nova_flexmem.host import sysfs

FOLDER = '/sys/kernel/mm/ksm'

STATE = '/run/nova-flexmem/ksm.json'

_STOP, RUNS, _UNMERGE = 0, 1, 2

#: Speed of KSM: it scans so many pages, then sleeps so many milliseconds.
#: ksmtuned arrives at these values on a host that is short of memory.
PAGES_TO_SCAN, SLEEP_MS = 1250, 10


class Switch:
    """Switches KSM on and off.

    :param folder: folder of the kernel's files
    :param state: path of the file that keeps the settings from before
    """

    def __init__(self, folder=FOLDER, state=STATE):
        self.folder = folder
        self._state = state

    def on(self, **settings):
        """Switch KSM on.

        :param settings: {name of a file: number}, set until off(); files that
            the kernel does not have are skipped
        :raises: KsmUnusable if KSM is on already or not available
        """
        self.put_back()
        self.check_off()
        # first, because the advisor changes other settings
        settings = {'advisor_mode': 'none', **settings}
        former = {name: text(self.folder, name) for name in settings
                  if os.path.exists(os.path.join(self.folder, name))}
        self._write_state(former)
        try:
            for name in former:
                _write(self.folder, name, settings[name])
            _write(self.folder, 'run', RUNS)
        except BaseException:
            self.off()
            raise

    def scan(self):
        """Switch KSM on with the settings for ksm.scan_once().

        :raises: KsmUnusable as on() does
        """
        self.on(smart_scan=0, pages_to_scan=PAGES_TO_SCAN,
                sleep_millisecs=SLEEP_MS)

    def off(self, *, unmerge=False):
        """Switch KSM off and restore the settings from before on().

        Merged pages stay merged unless unmerge is True.

        :raises: KsmUnusable
        """
        if unmerge:
            _write(self.folder, 'run', _UNMERGE)
        _write(self.folder, 'run', _STOP)
        if state := self._read_state():
            for name, former in reversed(state['former'].items()):
                _write(self.folder, name, former)
            os.unlink(self._state)

    def check_off(self):
        """Check that KSM is off.

        :raises: KsmUnusable if KSM is on or not available
        """
        if number(self.folder, 'run') != RUNS:
            return
        if state := self._read_state():
            raise exception.KsmUnusable(
                reason=f'process {state["pid"]} is running a scan already;'
                ' wait until that process has ended')
        raise exception.KsmUnusable(
            reason=f'it is scanning already ({self.folder}/run is {RUNS});'
            ' stop the program that switched it on, for example ksmtuned')

    def abandoned(self):
        """Return whether a process was killed between on() and off().

        Works without root.

        :raises: KsmUnusable
        """
        state = self._read_state()
        return bool(state) and state['started'] != _started(state['pid'])

    def put_back(self):
        """Do off() if a process was killed between on() and off().

        :raises: KsmUnusable
        """
        if self.abandoned():
            self.off()

    def release(self):
        """Do off() if this process did on(), otherwise put_back().

        :raises: KsmUnusable
        """
        state = self._read_state()
        if state and state['pid'] == os.getpid():
            self.off()
        else:
            self.put_back()

    def _write_state(self, former):
        """Keep the settings from before: {name of a file: text}."""
        content = json.dumps({'pid': os.getpid(), 'started': _started('self'),
                              'former': former})
        try:
            os.makedirs(os.path.dirname(self._state), mode=0o755,
                        exist_ok=True)
            self._check_owner()
            # link() fails if the file exists, and no reader sees half of it
            temporary = f'{self._state}.{os.getpid()}'
            descriptor = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            with open(descriptor, 'w', encoding='ascii') as f:
                f.write(content)
            try:
                os.link(temporary, self._state)
            finally:
                os.unlink(temporary)
        except OSError as e:
            raise exception.KsmUnusable(
                reason=f'{self._state} cannot be created ({e.strerror}); run'
                ' this as root, and not while another scan runs')

    def _read_state(self):
        """Return what _write_state() wrote, a dict; None if KSM is not on."""
        try:
            self._check_owner()
            with open(self._state, encoding='ascii') as f:
                return json.load(f)
        except FileNotFoundError:
            return None

    def _check_owner(self):
        """Check that only root can write what put_back() restores as root."""
        folder = os.path.dirname(self._state)
        owner = os.stat(folder).st_uid
        if owner not in (0, os.geteuid()):
            raise exception.KsmUnusable(
                reason=f'{folder} is owned by user {owner}, not by root;'
                ' remove that folder')


def _started(pid):
    """Return the start time of a process, text; None if it has ended.

    Together with the process id it identifies a process (proc_pid_stat(5)).
    """
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8',
                  errors='replace') as f:
            return f.read().rpartition(')')[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None


def text(folder, name):
    """Return a setting or counter of KSM, text; see sysfs.setting().

    :raises: KsmUnusable if the kernel has no KSM
    """
    try:
        return sysfs.setting(os.path.join(folder, name))
    except OSError as e:
        raise exception.KsmUnusable(
            reason=f'{os.path.join(folder, name)}: {e.strerror}; this kernel'
            ' has no KSM, or sysfs is not mounted: use a kernel with'
            ' CONFIG_KSM')


def number(folder, name):
    """Return a setting or counter of KSM, a number.

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
            reason=f'{path} cannot be set to {value} ({e.strerror}); run this'
            ' as root')
