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

"""What a compute host knows of an instance: its domain and its mappings."""

import collections
import dataclasses
import re
import shlex
import subprocess
from xml.etree import ElementTree

_TIMEOUT_S = 120

_QEMU = '{http://libvirt.org/schemas/domain/qemu/1.0}'

#: The first line of a mapping in /proc/PID/smaps, see proc(5).
_MAPPING = re.compile(r'[0-9a-f]+-[0-9a-f]+ (?P<mode>\S{4}) [0-9a-f]+'
                      r' (?P<device>\S+) (?P<inode>\d+)\s*(?P<path>.*)')


@dataclasses.dataclass(frozen=True)
class Mapping:
    """How a process maps a file.

    :ivar mode: of the mapping, for example r--s
    :ivar file: what the file is known by, its device and inode
    :ivar resident_kib: what of it is in memory
    :ivar shared_kib: what of that another process maps too
    :ivar dirty_kib: what of it the process has written
    """

    mode: str
    file: tuple[str, int]
    resident_kib: int
    shared_kib: int
    dirty_kib: int


class Host:
    """A compute host.

    :param command: [flexmem] host_command
    :param name: of the host, as Nova knows it
    """

    def __init__(self, command, name):
        self._command = [word.replace('{host}', name)
                         for word in shlex.split(command)]

    def run(self, *argv):
        """Run a program on the host as root; return its output, text."""
        # not by nova_flexmem.process: sudo and ssh need privileges and files
        # of the user that helper programs do without
        return subprocess.run([*self._command, *argv], capture_output=True,
                              text=True, check=True,
                              timeout=_TIMEOUT_S).stdout

    def domain(self, instance_name):
        """Return the XML of an instance's domain, text."""
        return self.run('virsh', 'dumpxml', instance_name)

    def mapping(self, instance_name, path):
        """Return the Mapping of a file by an instance's QEMU, or None."""
        pid = self.run('cat', f'/run/libvirt/qemu/{instance_name}.pid').strip()
        return mapping(self.run('cat', f'/proc/{pid}/smaps'), path)


def base_options(domain):
    """Return the options of the memory that a domain maps its base with.

    :param domain: XML, text
    :returns: a dict of text; empty if the domain has no base
    """
    arguments = [argument.get('value', '') for argument in
                 ElementTree.fromstring(domain).iter(f'{_QEMU}arg')]
    for name, value in zip(arguments, arguments[1:]):
        if name == '-object' and value.startswith('memory-backend-file,'):
            options = (option.partition('=') for option in value.split(','))
            return {key: text for key, sign, text in options if sign}
    return {}


def mapping(smaps, path):
    """Return the Mapping of a file, or None.

    A file that is mapped in parts counts as a whole, with the mode of the
    first.

    :param smaps: of a process, text
    :param path: of the file
    """
    first = None
    kib: collections.Counter[str] = collections.Counter()
    counts = False
    for line in smaps.splitlines():
        if match := _MAPPING.fullmatch(line):
            if counts := match['path'] == path:
                first = first or match
        elif counts and line.endswith(' kB'):
            name, value, _unit = line.split()
            kib[name.rstrip(':')] += int(value)
    if first is None:
        return None
    return Mapping(first['mode'], (first['device'], int(first['inode'])),
                   kib['Rss'], kib['Shared_Clean'] + kib['Shared_Dirty'],
                   kib['Shared_Dirty'] + kib['Private_Dirty'])
