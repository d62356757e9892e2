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

"""A running guest of the demo: its power, its control shell, its state."""

import dataclasses
import os
import signal
import time
import typing

import libvirt

from nova_flexmem.demo import cloudinit
from nova_flexmem.demo import shell
from nova_flexmem import exception
from nova_flexmem.host import memory

#: Seconds for a boot, generous because TCG on a busy host is slow.
BOOT_TIMEOUT_S = 600
_CONSOLE_LINES = 12
_PIDFILES = '/run/libvirt/qemu'

#: The shutdown ends the control shell, so the answer must be there first.
_SOON = ("systemd-run --quiet --no-block"
         " sh -c 'sleep 1; systemctl --no-block {}'")

_MULTI_USER = '''\
systemctl is-system-running --wait > /dev/null
systemctl show --value -p ActiveEnterTimestampMonotonic multi-user.target
cut -d ' ' -f 1 /proc/uptime
'''


@dataclasses.dataclass(frozen=True)
class SystemState:
    """What systemd in a guest says when its boot has ended."""

    state: str  #: as systemctl is-system-running has it
    failed_units: list[str]


class Guest:
    """A guest; a context manager that ends it, whatever happened.

    Its domain is transient, and libvirt destroys it when the connection is
    lost, so that no end of ours leaves a guest behind.

    :param connection: a libvirt.virConnect
    :param xml: its domain XML
    :param folder: a stock.Folder with its files
    :param needs_cloud_init: whether cloud-init starts its control shell
    :ivar domain: its libvirt.virDomain, while it runs
    """

    def __init__(self, connection, name, xml, folder, needs_cloud_init=False):
        self.name = name
        self.xml = xml
        self._connection = connection
        self._folder = folder
        self._needs_cloud_init = needs_cloud_init
        self.domain: typing.Any = None
        self._shell: typing.Any = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, exc_type, exc, traceback):
        self.destroy()

    def start(self, before=None):
        """Power the guest on.

        Its processor is started last, so that libvirt's own time does not
        count as the guest's.

        :param before: called before that with the id of its QEMU process
        :raises: DemoFailed if libvirt refuses
        """
        try:
            self.domain = self._connection.createXML(
                self.xml, libvirt.VIR_DOMAIN_START_AUTODESTROY
                | libvirt.VIR_DOMAIN_START_PAUSED)
            self._shell = shell.Shell(self._folder.shell)
            if before:
                before(self.pid)
            self._power_on = time.monotonic()
            self.domain.resume()
        except (libvirt.libvirtError, OSError) as e:
            self.destroy()
            raise self._failed(str(e))

    def wait_shell(self, timeout_s=BOOT_TIMEOUT_S):
        """Wait until the guest takes scripts, once after each boot."""
        turn = self._needs_cloud_init and cloudinit.Turn(lambda: self.console)
        try:
            self._shell.wait_ready(timeout_s, lambda: turn and turn.is_over())
        except exception.DemoFailed as e:
            raise self._failed(f'{e}; {cloudinit.NOT_THERE}' if turn
                               else str(e))

    def run(self, script, timeout_s=BOOT_TIMEOUT_S):
        """Run a script in the guest with sh, as root.

        :returns: its exit code, and its output, text
        :raises: DemoFailed if it gives no answer
        """
        try:
            return self._shell.run(script, timeout_s)
        except exception.DemoFailed as e:
            raise self._failed(str(e))

    def output(self, script, timeout_s=BOOT_TIMEOUT_S):
        """Return the output of a script that must succeed."""
        code, text = self.run(script, timeout_s)
        if code:
            raise self._failed(f'exit code {code} from a script: {text}')
        return text

    def wait_multi_user(self):
        """Wait for the end of the boot, after wait_shell.

        :returns: seconds from power-on to multi-user.target on the host's
            clock; after a reboot from inside they count from its request
        :raises: DemoFailed if the guest did not get there, or has a config
            drive that cloud-init did not use
        """
        entered_us, uptime_s = self.output(_MULTI_USER).split()
        now = time.monotonic()
        if entered_us == '0':
            raise self._failed('it never reached multi-user.target')
        ago_s = float(uptime_s) - int(entered_us) / 1e6
        if os.path.exists(self._folder.config_drive):
            self._check_cloud_init()
        return now - ago_s - self._power_on

    def _check_cloud_init(self):
        """See that cloud-init used the config drive in this boot.

        Its result file is read, and its program is only run if something is
        wrong: Python would fill the page cache that is measured.
        """
        missing, text = self.run(cloudinit.SHOW_RESULT, timeout_s=600)
        why = None if missing else cloudinit.fault(text)
        if missing or why:
            _code, status = self.run('cloud-init status --long')
            status = ' '.join(status.split())
            raise self._failed(
                'cloud-init did not run with the config drive:'
                f' {why or "it left no result"}; its status: {status}')

    def system_state(self):
        """Return the SystemState when the boot has ended."""
        _code, state = self.run('systemctl is-system-running --wait')
        units = self.output('systemctl list-units --failed --plain --full'
                            ' --no-legend')
        return SystemState(state.strip(),
                           [line.split()[0] for line in units.splitlines()])

    def meminfo(self):
        """Return the guest's /proc/meminfo, in bytes."""
        return memory.fields(self.output('cat /proc/meminfo'))

    def reboot(self):
        """Reboot from inside, and wait until the guest takes scripts."""
        self._power_on = time.monotonic()
        self.output(_SOON.format('reboot'))
        self.wait_shell()

    def power_off(self, timeout_s=120):
        """Shut the guest down from inside, and wait until it has gone."""
        self.output(_SOON.format('poweroff'))
        self._wait_gone(timeout_s)

    def suspend(self):
        """Stop the guest's processor; its clock stops with it."""
        self.domain.suspend()

    def resume(self):
        """Let a suspended guest go on."""
        self.domain.resume()

    def cut_power(self):
        """End the guest as a power cut of its host would."""
        os.kill(self.pid, signal.SIGKILL)
        self._wait_gone(timeout_s=30)

    def destroy(self):
        """End the guest if it runs."""
        if self._shell:
            self._shell.close()
        try:
            if self.domain:
                self.domain.destroy()
        except libvirt.libvirtError as e:
            if e.get_error_code() not in (libvirt.VIR_ERR_NO_DOMAIN,
                                          libvirt.VIR_ERR_OPERATION_INVALID):
                raise

    @property
    def pid(self):
        """The id of its QEMU process."""
        with open(os.path.join(_PIDFILES, f'{self.name}.pid'),
                  encoding='ascii') as f:
            return int(f.read())

    @property
    def console(self):
        """What all boots wrote to the serial console."""
        try:
            with open(self._folder.console, encoding='utf-8',
                      errors='replace') as f:
                return f.read()
        except FileNotFoundError:
            return ''

    def _wait_gone(self, timeout_s):
        deadline = time.monotonic() + timeout_s
        while self._running():
            if time.monotonic() > deadline:
                raise self._failed(f'still runs after {timeout_s} s')
            time.sleep(0.2)
        self._shell.close()

    def _running(self):
        try:
            return self.domain.isActive()
        except libvirt.libvirtError as e:
            if e.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            return False

    def _failed(self, why):
        lines = [line for line in self.console.splitlines() if line.strip()]
        end = ' | '.join(lines[-_CONSOLE_LINES:]) or 'nothing'
        return exception.DemoFailed(
            reason=f'guest {self.name}: {why}; its console ends: {end}')
