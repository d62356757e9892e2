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

"""Where the host memory of a QEMU process goes.

Sources: /proc/PID/smaps and /proc/PID/pagemap (proc_pid_smaps(5),
Documentation/admin-guide/mm/pagemap.rst). Pages of mapped files that can be
dropped and read again are cache, not the process's own memory: they count
neither as private here, nor once for every process that maps them.
"""

import dataclasses
import os
import re

from nova_flexmem import exception
from nova_flexmem.host import pages

_HEADER = re.compile(r'(?P<start>[0-9a-f]+)-(?P<end>[0-9a-f]+) '
                     r'(?P<permissions>\S{4}) (?P<offset>[0-9a-f]+) \S+ '
                     r'(?P<inode>\d+) *(?P<path>.*)')
_FIELD = re.compile(r'(?P<name>\w+):\s+(?P<kib>\d+) kB')


@dataclasses.dataclass
class Area:
    """One mapping of a process, an entry of its smaps."""

    start: int
    end: int
    permissions: str
    offset_bytes: int
    inode: int
    path: str
    kib: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def size_bytes(self):
        return self.end - self.start

    @property
    def private_bytes(self):
        """Memory that is this process's alone and can't just be dropped."""
        kib = self.kib['Private_Dirty']
        if not self.inode:
            kib += self.kib['Private_Clean']
        return kib << 10

    @property
    def swap_bytes(self):
        return self.kib.get('Swap', 0) << 10

    @property
    def could_be_ram(self):
        """Whether it is anonymous memory of the kind that guest RAM is."""
        return self.permissions == 'rw-p' and not self.inode and not self.path


@dataclasses.dataclass(frozen=True)
class Usage:
    """The memory that one QEMU process alone costs the host."""

    ram_bytes: int  #: the guest's RAM as far as it is backed
    qemu_bytes: int  #: everything else in the process
    page_tables_bytes: int  #: the kernel's, for this process
    swap_bytes: int  #: swapped out, in no other figure

    @property
    def private_bytes(self):
        return self.ram_bytes + self.qemu_bytes + self.page_tables_bytes


def of_process(pid, ram_size_bytes):
    """Return the Usage of a QEMU process.

    :param ram_size_bytes: the size of the guest's RAM
    :raises: ProgramFailed if the process has gone, or if its guest's RAM is
        not ordinary anonymous memory (a memory-backend-ram)
    """
    try:
        areas = parse(read(pid, 'smaps'))
        status = read(pid, 'status')
    except OSError as e:
        raise exception.ProgramFailed(program=f'QEMU process {pid}',
                                      reason=f'no memory figures: {e}')
    ram = guest_ram(areas, ram_size_bytes)
    if not ram:
        raise exception.ProgramFailed(
            program=f'QEMU process {pid}', reason='no anonymous mapping of'
            f' {ram_size_bytes >> 20} MiB; its guest RAM cannot be told from'
            ' the rest')
    ram_bytes = sum(area.private_bytes for area in ram)
    return Usage(
        ram_bytes=ram_bytes,
        qemu_bytes=sum(area.private_bytes for area in areas) - ram_bytes,
        page_tables_bytes=fields(status)['VmPTE'],
        swap_bytes=sum(area.swap_bytes for area in areas))


def translated_bytes(pid):
    """Return what a QEMU process holds of its guest's code, translated.

    It is what the process may both write and execute; with KVM there is none.
    """
    return sum(area.private_bytes for area in parse(read(pid, 'smaps'))
               if area.permissions == 'rwxp' and not area.inode)


def mapped_bytes(pids, path):
    """Return how much of a file processes map at present, each page once.

    It counts what page tables hold, the pages that the kernel mapped around a
    fault without being asked for them (fault-around) included.
    """
    mapped = pages.PageSet()
    path = os.path.realpath(path)
    for pid in pids:
        with pages.Pagemap(pid) as pagemap:
            for area in parse(read(pid, 'maps')):
                if area.path == path:
                    mapped.add(pagemap.runs(area.start, area.end),
                               area.offset_bytes)
    return mapped.size_bytes


def host_available_bytes():
    """Return MemAvailable of the host (proc_meminfo(5))."""
    return fields(read('', 'meminfo'))['MemAvailable']


def host_total_bytes():
    """Return MemTotal of the host."""
    return fields(read('', 'meminfo'))['MemTotal']


def fields(text):
    """Return the sizes in a /proc/meminfo or /proc/PID/status, in bytes."""
    return {field['name']: int(field['kib']) << 10
            for field in map(_FIELD.match, text.splitlines()) if field}


def parse(smaps):
    """Return the Areas in the text of an smaps or maps file."""
    areas: list[Area] = []
    for line in smaps.splitlines():
        if field := _FIELD.match(line):
            areas[-1].kib[field['name']] = int(field['kib'])
        elif header := _HEADER.fullmatch(line):
            areas.append(Area(
                start=int(header['start'], 16), end=int(header['end'], 16),
                permissions=header['permissions'],
                offset_bytes=int(header['offset'], 16),
                inode=int(header['inode']), path=header['path']))
    return areas


def guest_ram(areas, size_bytes):
    """Return the Areas that are a guest's RAM, an empty list if none are.

    The kernel merges neighbouring anonymous areas that have the same flags,
    and splits one where a part gets other flags. So where no area has the
    exact size, it is the run of neighbours with the least surplus.
    """
    candidates = [area for area in areas if area.could_be_ram]
    for area in candidates:
        if area.size_bytes == size_bytes:
            return [area]
    runs: list[list[Area]] = []
    for area in candidates:
        if runs and runs[-1][-1].end == area.start:
            runs[-1].append(area)
        else:
            runs.append([area])
    fitting = [run for run in runs if _size_bytes(run) >= size_bytes]
    return min(fitting, key=_size_bytes, default=[])


def _size_bytes(run):
    return run[-1].end - run[0].start


def read(pid, name):
    """Return the text of a file in /proc/PID, or in /proc for no pid."""
    with open(os.path.join('/proc', str(pid), name), encoding='utf-8',
              errors='replace') as f:
        return f.read()
