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

"""Finds the QEMU processes of this host, and reads their command lines.

It does not matter whether libvirt or another program started them.
"""

import contextlib
import dataclasses
import json
import os
import re

from oslo_utils import units
import psutil

#: Names of QEMU's processes: Debian's qemu-system-x86_64 and RHEL's qemu-kvm.
_NAMES = ('qemu-system-x86', 'qemu-kvm')

_UNITS = {'': units.Mi, 'b': 1, 'k': units.Ki, 'm': units.Mi, 'g': units.Gi,
          't': units.Ti}
_SIZE = re.compile(r'(\d+)([bkmgt]?)', re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Qemu:
    """A QEMU process.

    :ivar name: name of the guest; empty if the command line has none
    :ivar uuid: UUID of the guest, likewise
    :ivar ram_bytes: sizes of the parts of the guest's RAM, one for each NUMA
        node
    """

    pid: int
    name: str
    uuid: str
    ram_bytes: tuple[int, ...]


def running():
    """Return the Qemus of this host, by process id."""
    return [of_command_line(process.pid, process.info['cmdline'])
            for process in psutil.process_iter(['name', 'cmdline'])
            if (process.info['name'] or '').startswith(_NAMES)
            and process.info['cmdline']]  # else it is ending


def uses_kvm(pid):
    """Return whether a QEMU process runs its guest with KVM.

    :raises: OSError
    """
    folder = f'/proc/{pid}/fd'
    for number in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(os.path.join(folder, number)) == (
                    'anon_inode:kvm-vm'):
                return True
    return False


def of_command_line(pid, words):
    """Return the Qemu of a process.

    :param words: the command line of the process, a list
    """
    options: dict[str, list[str]] = {}
    for option, value in zip(words, words[1:]):
        if option.startswith('-'):
            options.setdefault(option.lstrip('-'), []).append(value)
    name = _fields(options.get('name', [''])[-1], 'guest').get('guest', '')
    return Qemu(pid, name, options.get('uuid', [''])[-1], _ram_bytes(options))


def _ram_bytes(options):
    """Return the sizes of the guest's memory backends, or the size from -m.

    A backend is RAM if a NUMA node or the machine uses it. The backend of a
    FlexMem device is used by neither.
    """
    ids = [fields[key] for option, key in (('numa', 'memdev'),
                                           ('machine', 'memory-backend'))
           for fields in map(_fields, options.get(option, []))
           if key in fields]
    backends = [_fields(value, 'qom-type')
                for value in options.get('object', [])]
    sizes = {fields.get('id'): _size_bytes(fields.get('size', '0'), 'b')
             for fields in backends
             if fields.get('qom-type', '').startswith('memory-backend-')}
    ram = [sizes[each] for each in ids if sizes.get(each)]
    if not ram and 'm' in options:
        ram = [_size_bytes(_fields(options['m'][-1], 'size').get('size', ''))]
    return tuple(filter(None, ram))


def _fields(value, first=''):
    """Return the fields of an option's value: {key: text}.

    :param value: JSON, or key=value pairs separated by commas
    :param first: key of the first field if that has none
    """
    if value.startswith('{'):
        # not every process with QEMU's name is QEMU: the JSON may be wrong
        with contextlib.suppress(ValueError, AttributeError):
            return {key: str(field)
                    for key, field in json.loads(value).items()}
    fields = {}
    for number, part in enumerate(value.replace(',,', '\0').split(',')):
        key, equals, field = part.replace('\0', ',').partition('=')
        if equals:
            fields[key] = field
        elif not number:
            fields[first] = key
    return fields


def _size_bytes(text, unit=''):
    """Return a size in bytes, read like QEMU reads it; 0 if it is wrong.

    :param unit: unit of a size without one; '' is MiB, as with -m
    """
    size = _SIZE.fullmatch(text)
    return int(size[1]) * _UNITS[size[2].lower() or unit] if size else 0
