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

"""Finds the QEMU that runs instances, and the machine types that it has.

libvirt knows both: Debian has /usr/bin/qemu-system-x86_64 with pc and q35,
RHEL 9 /usr/libexec/qemu-kvm with machine types of its own, RHEL 10 no pc at
all. It is asked for its capabilities: its domain capabilities, which name the
same emulator, are refused on connections that change nothing.

Source: docs/formatcaps.rst of libvirt.
"""

import dataclasses
import re
import shutil

from lxml import etree
from oslo_log import log

from nova_flexmem import exception
from nova_flexmem import process

try:
    import libvirt

    from nova_flexmem import libvirt_connection
except ImportError:
    libvirt = None

LOG = log.getLogger(__name__)

#: Where QEMU is if libvirt does not say, or says what is not here: a container
#: of nova-compute has another root than that of libvirt.
_PROGRAMS = ('qemu-system-x86_64', '/usr/libexec/qemu-kvm', 'qemu-kvm')

_HELP_TIMEOUT_S = 30


@dataclasses.dataclass(frozen=True)
class Emulator:
    """A QEMU.

    :ivar program: its path here
    :ivar machines: names of its machine types, a tuple
    :ivar named: the path that libvirt names, or None if libvirt did not answer
    """

    program: str
    machines: tuple[str, ...]
    named: str | None


def find():
    """Return the Emulator that runs instances on this host.

    :raises: HostUnfit if there is no QEMU; ProgramFailed if libvirt does not
        answer and QEMU does not name its machine types
    """
    named, machines = _of_libvirt()
    program = _here(*((named,) if named else ()), *_PROGRAMS)
    if program is None:
        where = f'{named} of libvirt, nor ' if named else ''
        raise exception.HostUnfit(
            reason=f'it has no QEMU, neither {where}{", ".join(_PROGRAMS)};'
            ' install qemu-system-x86 (Debian) or qemu-kvm (RHEL), in the'
            ' container of nova-compute too')
    if named != program:
        machines = _of_qemu(program)
    return Emulator(program, machines, named)


def _here(*programs):
    """Return the path of the first of some programs that can run here."""
    path = process.environment()['PATH']
    return next(filter(None, (shutil.which(program, path=path)
                              for program in programs)), None)


def _of_libvirt():
    """Return (path, machine types) by libvirt; (None, ()) if it is silent."""
    if libvirt is None:
        return None, ()
    try:
        with libvirt_connection.read_only() as connection:
            return _read(connection.getCapabilities())
    except (libvirt.libvirtError, etree.XMLSyntaxError) as e:
        LOG.debug('libvirt does not name its QEMU: %s', e)
        return None, ()


def _read(text):
    """Return (path, machine types) of capabilities; (None, ()) without any."""
    arch = etree.fromstring(text).find(
        'guest[os_type="hvm"]/arch[@name="x86_64"]')
    if arch is None:
        return None, ()
    return arch.findtext('emulator'), tuple(
        machine.text for machine in arch.iterfind('machine'))


def _of_qemu(program):
    """Return the machine types that a QEMU names itself.

    :raises: ProgramFailed
    """
    answer = process.run(program, '-machine', 'help',
                         timeout_s=_HELP_TIMEOUT_S,
                         limits=process.Limits(address_space_bytes=None))
    return tuple(re.findall(r'^(\S+) {2,}', answer, re.MULTILINE))
