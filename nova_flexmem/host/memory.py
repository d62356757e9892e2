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

"""Measures the host memory of QEMU processes.

Sources: /proc/PID/smaps and /proc/PID/pagemap (proc_pid_smaps(5),
Documentation/admin-guide/mm/pagemap.rst). Pages of mapped files that the
kernel can drop and read again are cache: they do not count as private memory
of the processes that map them.
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
    """One mapping of a process, an entry of its maps or smaps.

    :ivar start: first address; end is the address after the last one
    :ivar permissions: for example 'rw-p'
    :ivar offset_bytes: where in the file the mapping begins
    :ivar inode: of the file; 0 if the mapping is anonymous
    :ivar path: of the file, or a name such as '[heap]'
    :ivar kib: the fields of smaps that have sizes; empty from maps
    """

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
        """Memory that only this process has and the kernel cannot drop."""
        kib = self.kib['Private_Dirty']
        if not self.inode:
            kib += self.kib['Private_Clean']
        return kib << 10

    @property
    def swap_bytes(self):
        return self.kib.get('Swap', 0) << 10

    @property
    def could_be_ram(self):
        """Whether this is anonymous memory of the kind that RAM has."""
        return self.permissions == 'rw-p' and not self.inode and not self.path


@dataclasses.dataclass(frozen=True)
class Usage:
    """The memory that only one QEMU process has.

    :ivar ram_bytes: guest RAM that is backed by memory
    :ivar qemu_bytes: all other private memory of the process
    :ivar page_tables_bytes: memory of the process's page tables
    :ivar swap_bytes: memory that is swapped out; no other figure includes it
    """

    ram_bytes: int
    qemu_bytes: int
    page_tables_bytes: int
    swap_bytes: int

    @property
    def private_bytes(self):
        return self.ram_bytes + self.qemu_bytes + self.page_tables_bytes


def of_process(pid, ram_size_bytes):
    """Return the Usage of a QEMU process.

    :param ram_size_bytes: size of the guest's RAM
    :raises: ProgramFailed if the process has ended, or if the guest's RAM is
        not anonymous memory (memory-backend-ram)
    """
    try:
        areas = parse(read(pid, 'smaps'))
        status = read(pid, 'status')
    except OSError as e:
        raise exception.ProgramFailed(program=f'QEMU process {pid}',
                                      reason=f'its memory is not known: {e}')
    ram = guest_ram(areas, ram_size_bytes)
    if not ram:
        raise exception.ProgramFailed(
            program=f'QEMU process {pid}', reason='it has no anonymous mapping'
            f' of {ram_size_bytes >> 20} MiB, so the guest\'s RAM cannot be'
            ' told from other memory')
    ram_bytes = sum(area.private_bytes for area in ram)
    return Usage(
        ram_bytes=ram_bytes,
        qemu_bytes=sum(area.private_bytes for area in areas) - ram_bytes,
        page_tables_bytes=fields(status)['VmPTE'],
        swap_bytes=sum(area.swap_bytes for area in areas))


def translated_bytes(pid):
    """Return the size of the guest code that QEMU's TCG has translated.

    That is memory which the process may both write and execute. With KVM there
    is none.

    :raises: OSError
    """
    return sum(area.private_bytes for area in parse(read(pid, 'smaps'))
               if area.permissions == 'rwxp' and not area.inode)


def mapped_bytes(pids, path):
    """Return how much of a file a group of processes maps, each page once.

    It counts pages in page tables. They include pages that the kernel mapped
    around a page fault (fault-around).

    :raises: OSError
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


def merged_bytes(pid):
    """Return the bytes of a process that KSM has merged.

    Linux before 5.19 does not tell, and 0 is returned.
    """
    try:
        return int(read(pid, 'ksm_merging_pages')) * pages.PAGE_BYTES
    except FileNotFoundError:
        return 0


def host_available_bytes():
    """Return MemAvailable of the host (proc_meminfo(5))."""
    return fields(read('', 'meminfo'))['MemAvailable']


def host_total_bytes():
    """Return MemTotal of the host."""
    return fields(read('', 'meminfo'))['MemTotal']


def fields(text):
    """Return the sizes in /proc/meminfo or /proc/PID/status: {name: bytes}.

    :param text: of the file
    """
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
    """Return the Areas that are a guest's RAM; [] if there are none.

    The kernel merges neighbouring anonymous areas that have equal flags, and
    splits an area where a part gets other flags. So if no area has exactly the
    size of the RAM, the RAM is the shortest run of neighbours that has room
    for it.
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
    """Return the text of a file in /proc/PID, or in /proc if pid is ''.

    :raises: OSError
    """
    with open(os.path.join('/proc', str(pid), name), encoding='utf-8',
              errors='replace') as f:
        return f.read()
