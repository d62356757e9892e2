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

"""QEMU's capability x-ignore-shared on this host: given to guests, asked for.

Without it a guest can be neither migrated live nor suspended. It is never
taken for granted: the running QEMU is asked before anything is moved.
"""

import json
import os

from lxml import etree
from oslo_log import log
from oslo_privsep import daemon
from oslo_utils import fileutils

import nova.privsep.path

from nova_flexmem import exception
from nova_flexmem.guest import device
from nova_flexmem.guest import ignoreshared
from nova_flexmem.host import apparmor

try:
    import libvirtmod_qemu
except ImportError:
    libvirtmod_qemu = None

LOG = log.getLogger(__name__)

_DAC = 'dac'


class Capability:
    """The capability, on this host.

    :param host: Nova's nova.virt.libvirt.host.Host
    :param group: the [flexmem] options
    """

    def __init__(self, host, group):
        self._host = host
        self._group = group
        self._told = set()

    def arguments(self, folder):
        """Return QEMU's options that switch the capability on.

        What QEMU reads for it is written anew.

        :param folder: the instance's folder
        :returns: a list of command line words; empty where the host cannot
            offer it, which is logged
        """
        try:
            return self._arguments(folder)
        except (exception.FlexMemException, OSError, ValueError,
                daemon.FailedToDropPrivileges) as e:
            self._tell(str(e))
            return []

    def _arguments(self, folder):
        switch = self._switch(folder)
        self._check(switch)
        if switch.writes_script:
            self._write_own(switch)
        elif switch.script:
            self._write_shared(switch)
        return switch.arguments()

    def check(self):
        """Check that the host can offer the capability.

        :raises: HostUnfit
        """
        self._check(self._switch('/'))

    def _switch(self, folder):
        version = self._host.get_version()
        return ignoreshared.switch(
            (version // 1000000, version // 1000 % 1000), folder,
            os.path.abspath(self._group.store_path))

    def _check(self, switch):
        if switch.writes_script:
            labels = self._labels()
            others = sorted(set(labels) - {_DAC, 'none'})
            if others:
                # they keep QEMU from the script, and a rule that let it write
                # there would let it write the scripts of other guests
                raise exception.HostUnfit(
                    reason='live migration and suspension need QEMU 8.1 where'
                    f' {others[0]} confines it; upgrade QEMU')
            if _DAC not in labels:
                raise exception.HostUnfit(
                    reason='libvirt does not say which user runs QEMU; run'
                    ' the system libvirtd')
        elif (switch.script and 'apparmor' in self._labels()
                and not apparmor.lets_read(switch.script)):
            raise exception.HostUnfit(
                reason=f'AppArmor keeps QEMU from reading {switch.script};'
                ' copy etc/apparmor/nova-flexmem of this version to'
                ' /etc/apparmor.d/abstractions')

    def _write_own(self, switch):
        """Write the script for one guest, which QEMU's user can write to."""
        user, group = (int(number.lstrip('+'))
                       for number in self._labels()[_DAC].split(':'))
        _replace(switch.script, 0o600)
        nova.privsep.path.chown(switch.script, user, group)
        fileutils.delete_if_exists(switch.answers)
        os.symlink(os.devnull, switch.answers)

    def _write_shared(self, switch):
        """Write the script for all guests, which none can change."""
        try:
            with open(switch.script, encoding='ascii') as f:
                if f.read() == ignoreshared.SCRIPT:
                    return
        except FileNotFoundError:
            os.makedirs(os.path.dirname(switch.script), exist_ok=True)
        _replace(switch.script, 0o444)

    def _labels(self):
        """Return {security model of libvirt: its label of QEMU}."""
        capabilities = etree.fromstring(
            self._host.get_connection().getCapabilities())
        return {model.findtext('model'): model.findtext('baselabel')
                for model in capabilities.iterfind('host/secmodel')}

    def _tell(self, reason):
        if reason not in self._told:
            self._told.add(reason)
            LOG.warning('FlexMem instances that start on this host cannot be'
                        ' migrated live or suspended: %s', reason)


def why_not(guest):
    """Ask a running QEMU whether its guest can be moved.

    :param guest: a nova.virt.libvirt.guest.Guest
    :returns: None, or why it cannot be moved, text
    """
    try:
        states = {each['capability']: each['state'] for each in
                  _ask(guest, 'query-migrate-capabilities')}
        shared = [backend['id'] for backend in _ask(guest, 'query-memdev')
                  if backend['share']]
    except (KeyError, TypeError, ValueError) as e:
        return f'QEMU does not answer as expected ({e!r})'
    if states.get(ignoreshared.CAPABILITY) is not True:
        return ('its QEMU runs without the capability'
                f' {ignoreshared.CAPABILITY}')
    if shared != [device.BACKEND_ID]:
        return ('its QEMU shares other memory than the base'
                f' ({", ".join(map(str, shared))})')
    return None


def movable_guest(host, instance, record):
    """Return the guest of an instance that runs, and can be moved.

    :param host: Nova's nova.virt.libvirt.host.Host
    :returns: a nova.virt.libvirt.guest.Guest
    :raises: InstanceRefused; libvirt.libvirtError
    """
    if not record.movable:
        raise exception.InstanceRefused(
            reason='its guest shares its RAM (huge pages, DPDK), has the'
            ' device virtio-pmem, or was started before an upgrade, or on a'
            ' host that cannot offer it, as its log says; hard reboot it after'
            ' an upgrade, or stop it and migrate it cold')
    guest = host.get_guest(instance)
    reason = why_not(guest)
    if reason:
        raise exception.InstanceRefused(
            reason=f'{reason}; hard reboot it, or stop it and migrate it'
            ' cold')
    return guest


def _ask(guest, command):
    """Run a QMP command in a running QEMU; return its result.

    :raises: KeyError, TypeError, ValueError if there is none;
        libvirt.libvirtError
    """
    answer = libvirtmod_qemu.virDomainQemuMonitorCommand(
        guest._domain._o, json.dumps({'execute': command}), 0)
    return json.loads(answer)['return']


def _replace(path, mode):
    """Write the script anew, at once."""
    temporary = f'{path}.new'
    fileutils.delete_if_exists(temporary)
    fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    with open(fd, 'w', encoding='ascii') as f:
        os.fchmod(fd, mode)
        f.write(ignoreshared.SCRIPT)
    os.rename(temporary, path)
