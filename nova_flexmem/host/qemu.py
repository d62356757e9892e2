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

"""Checks that QEMU runs with a FlexMem device."""

import json
import os
import re
import threading

from oslo_utils import units
from stevedore import driver

from nova_flexmem import exception
from nova_flexmem.guest import device as flexmem_device
from nova_flexmem.guest import fitness
from nova_flexmem import process
from nova_flexmem.store import superblock

_CHIPSETS = ('pc', 'q35')
_TIMEOUT_S = 30
_LIMITS = process.Limits(address_space_bytes=16 * units.Gi, cpu_s=30)


def check(found, device, folder, accel='tcg'):
    """Start QEMU with a FlexMem device on each chipset; no guest runs.

    A chipset that this QEMU lacks is left out.

    :param found: the emulator.Emulator
    :param device: name of a driver in namespace nova_flexmem.device
    :param folder: folder for the device's file; it has to be in the store,
        because the filesystem matters
    :param accel: 'kvm' or 'tcg'
    :returns: the result, one sentence
    :raises: HostUnfit if QEMU does not map the file as it has to
    """
    named = machines(found)
    loaded = load(device)
    path = os.path.join(folder, 'root.pmem')
    size_bytes = superblock.padded(superblock.DATA_OFFSET_BYTES + 1)
    with open(path, 'xb') as f:
        os.posix_fallocate(f.fileno(), 0, size_bytes)
    os.chmod(path, 0o444)
    for chipset, machine in named.items():
        try:
            version = _try(
                found.program,
                ('-machine', f'{machine},accel={accel}',
                 *flexmem_device.memory_backend(path, size_bytes),
                 *loaded.arguments(chipset, 0)), path)
        except exception.ProgramFailed as e:
            raise exception.HostUnfit(
                reason=f'QEMU does not take the device {device} on machine'
                f' type {machine}: {e.kwargs["reason"]}; install another QEMU'
                ' (7.2 is known to work), or set [flexmem] device to the other'
                ' device')
    return (f'QEMU {version} ({found.program}) maps {device} read-only on'
            f' {_listed(named)}{_difference(found)}')


def machines(found):
    """Return {chipset: the machine type to take} of an Emulator.

    The alias of the newest machine type is taken if there is one.

    :raises: HostUnfit if it has no machine type that FlexMem supports
    """
    named = {}
    for chipset in _CHIPSETS:
        family = [machine for machine in found.machines
                  if fitness.chipset_of(machine) == chipset]
        if family:
            named[chipset] = (chipset if chipset in family
                              else max(family, key=_by_version))
    if not named:
        raise exception.HostUnfit(
            reason=f'{found.program} has no machine type of the families'
            f' {" and ".join(_CHIPSETS)}; install a QEMU for x86_64')
    return named


def _by_version(machine):
    return [int(number) for number in re.findall(r'\d+', machine)]


def _listed(named):
    """Return the machine types that were tried, and what is missing."""
    missing = [chipset for chipset in _CHIPSETS if chipset not in named]
    return f'machine type{"s" * (len(named) > 1)} ' + ' and '.join(
        named.values()) + ''.join(
            f'; it has no {chipset}, so instances need hw_machine_type'
            for chipset in missing)


def _difference(found):
    if found.named in (None, found.program):
        return ''
    return (f'; libvirt runs instances with {found.named}, which is not here,'
            ' so keep both of one version')


def load(name):
    """Return the driver of a FlexMem device."""
    return driver.DriverManager('nova_flexmem.device', name,
                                invoke_on_load=True).driver


def _try(program, arguments, path):
    """Start QEMU with the device, check its mapping, and end it.

    :param arguments: of QEMU: the machine and the device
    :param path: of the file that it has to map
    :returns: QEMU's version, text
    :raises: ProgramFailed
    """
    popen = process.start(
        program, '-nodefaults', '-no-user-config', '-display', 'none', '-S',
        '-m', 'size=64M,slots=1,maxmem=1G', '-qmp', 'stdio', *arguments,
        limits=_LIMITS)
    timer = threading.Timer(_TIMEOUT_S, popen.kill)
    timer.start()
    try:
        version = json.loads(_line(popen))['QMP']['version']['qemu']
        _command(popen, 'qmp_capabilities')
        devices = _command(popen, 'query-memory-devices')
        if flexmem_device.DEVICE_ID not in [d['data'].get('id')
                                            for d in devices]:
            raise _failed('it started without the device')
        _check_mapping(popen.pid, path)
        _command(popen, 'quit')
    except (ValueError, KeyError, TypeError) as e:
        raise _failed(f'its QMP answer is not as expected ({e!r})')
    finally:
        timer.cancel()
        popen.kill()
        popen.communicate()
    return '{major}.{minor}.{micro}'.format(**version)


def _command(popen, name):
    """Run a QMP command; return its result."""
    try:
        popen.stdin.write(json.dumps({'execute': name}) + '\n')
        popen.stdin.flush()
    except OSError:
        pass  # QEMU has ended; _line() raises what it wrote
    while 'event' in (answer := json.loads(_line(popen))):
        pass
    if 'error' in answer:
        raise _failed(answer['error']['desc'])
    return answer['return']


def _line(popen):
    """Return the next line of QMP.

    :raises: ProgramFailed if QEMU has ended
    """
    line = popen.stdout.readline()
    if not line:
        popen.wait()
        raise _failed(process.reason(popen.returncode, popen.stderr.read()))
    return line


def _check_mapping(pid, path):
    """Check that a process maps a file read-only and shared.

    :raises: ProgramFailed
    """
    with open(f'/proc/{pid}/maps') as f:
        modes = {line.split()[1] for line in f
                 if line.rstrip('\n').endswith(os.path.realpath(path))}
    if modes != {'r--s'}:
        raise _failed('it has to map the file shared and read-only (r--s), but'
                      f' maps it {", ".join(sorted(modes)) or "not at all"}')


def _failed(reason):
    return exception.ProgramFailed(program='QEMU', reason=reason)
