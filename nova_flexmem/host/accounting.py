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

"""Measures the memory of instances and bases on this host, and the savings.

It reads page tables, changes nothing, and reclaims nothing.
doc/source/operator.rst explains each figure and its source.
"""

import contextlib
import dataclasses
import os

from oslo_log import log

from nova_flexmem import exception
from nova_flexmem.host import balloon
from nova_flexmem.host import memory
from nova_flexmem.host import pages
from nova_flexmem.host import processes
from nova_flexmem.store import basefiles

LOG = log.getLogger(__name__)

#: sizeof(struct page): memory of the guest for each page of a FlexMem device.
PAGE_STRUCT_BYTES = 64


@dataclasses.dataclass(frozen=True)
class InstanceMemory:
    """The memory of one QEMU process and its guest.

    :ivar pid: process id of QEMU
    :ivar name: name of the guest
    :ivar uuid: UUID of the guest
    :ivar base: key of the instance's base; None for a stock instance
    :ivar ram_bytes: guest RAM that is backed by memory of this process alone
    :ivar qemu_bytes: all other anonymous memory of the process
    :ivar page_tables_bytes: memory of the process's page tables
    :ivar swap_bytes: memory that is swapped out; no other figure includes it
    :ivar base_mapped_bytes: pages of the base in the process's page table:
        pages that the guest touched, and pages that the kernel mapped around
        them
    :ivar page_structs_bytes: the part of the guest's RAM that its kernel takes
        for page structs of the FlexMem device
    :ivar guest_cache_bytes: the guest's own page cache; None if its balloon
        does not report it
    :ivar base_used_bytes: pages of the base that the guest used while it was
        watched; None if it was not watched
    """

    pid: int
    name: str
    uuid: str
    base: str | None
    ram_bytes: int
    qemu_bytes: int
    page_tables_bytes: int
    swap_bytes: int
    base_mapped_bytes: int
    page_structs_bytes: int
    guest_cache_bytes: int | None = None
    base_used_bytes: int | None = None

    @property
    def private_bytes(self):
        """Anonymous memory of this process alone."""
        return self.ram_bytes + self.qemu_bytes


@dataclasses.dataclass(frozen=True)
class BaseMemory:
    """The memory of a base, and what the base saves.

    :ivar key: key of the base
    :ivar resident_bytes: the part of root.pmem in the host's page cache, used
        or not
    :ivar mapped_bytes: pages that at least one instance has mapped, each
        counted once
    :ivar instances: the InstanceMemory of each of its instances
    """

    key: str
    resident_bytes: int
    mapped_bytes: int
    instances: list[InstanceMemory]

    @property
    def saved_at_most_bytes(self):
        """What all instances have mapped, less the pages in memory."""
        return (sum(each.base_mapped_bytes for each in self.instances)
                - self.mapped_bytes)

    @property
    def saved_at_least_bytes(self):
        """What all instances used, less the pages that any has mapped.

        None unless base_used_bytes is known of each instance.
        """
        used = [each.base_used_bytes for each in self.instances
                if each.base_used_bytes is not None]
        if not used or len(used) < len(self.instances):
            return None
        return max(0, sum(used) - self.mapped_bytes)


@dataclasses.dataclass(frozen=True)
class HostMemory:
    """The memory of all bases and instances on a host.

    :ivar bases: the BaseMemory of each base in the store, in order of keys
    :ivar stock: the InstanceMemory of each instance without a base
    """

    bases: list[BaseMemory]
    stock: list[InstanceMemory]

    @property
    def instances(self):
        """The InstanceMemory of each instance, with and without a base."""
        return [each for of_base in self.bases for each in of_base.instances
                ] + self.stock


def measure(store, used=None):
    """Measure the memory of this host's bases and instances.

    :param store: the basestore.Store
    :param used: {pid: bytes} from working_set.measure(), or None
    :returns: HostMemory
    :raises: HostUnfit if this user may not read other users' page tables;
        StoreUnusable
    """
    bases = {}
    with store.reporting():
        for key in store.keys():
            # nova-compute may remove an unused base meanwhile
            with contextlib.suppress(FileNotFoundError):
                bases[os.stat(_root_pmem(store, key)).st_ino, key] = (
                    pages.PageSet())
    caches = balloon.page_caches()
    instances = []
    for qemu in processes.running():
        try:
            instances.append(_instance(qemu, bases, caches, used or {}))
        except PermissionError as e:
            raise exception.HostUnfit(
                reason=f'the memory of process {qemu.pid} cannot be measured'
                f' ({e}); run this as root')
        except (FileNotFoundError, ProcessLookupError) as e:
            LOG.debug('QEMU process %s ended meanwhile: %s', qemu.pid, e)
    base_memories = []
    with store.reporting():
        for (_inode, key), mapped in bases.items():
            with contextlib.suppress(FileNotFoundError):
                base_memories.append(BaseMemory(
                    key, pages.resident_bytes(_root_pmem(store, key)),
                    mapped.size_bytes,
                    [each for each in instances if each.base == key]))
    return HostMemory(base_memories,
                      [each for each in instances if each.base is None])


def _root_pmem(store, key):
    return os.path.join(store.folder('bases'), key, basefiles.ROOT_PMEM)


def areas_of(pid, path_end='/' + basefiles.ROOT_PMEM):
    """Return the memory.Areas of a process that are RAM or map root.pmem.

    Areas of program files are left out: they would take most of the time.
    """
    lines = memory.read(pid, 'maps').splitlines()
    return memory.parse('\n'.join(
        line for line in lines if line.endswith((' 00:00 0 ', path_end))
        or ' rw-s ' in line))


def _instance(qemu, bases, caches, used):
    """Return the InstanceMemory of a Qemu.

    :param bases: {(inode, key): PageSet}; pages that the process maps of a
        base are added to its set
    :param caches: {uuid: bytes} from balloon.page_caches()
    :param used: {pid: bytes} from working_set.measure()
    :raises: ProcessLookupError or FileNotFoundError if the process has ended,
        PermissionError
    """
    status = memory.fields(memory.read(qemu.pid, 'status'))
    if 'RssAnon' not in status:
        raise ProcessLookupError('the process has no memory any more')
    areas = areas_of(qemu.pid)
    key = None
    ram_bytes = shared_bytes = base_mapped_bytes = size_bytes = 0
    with pages.Pagemap(qemu.pid) as pagemap:
        for area in ram_areas(areas, qemu):
            area_bytes = pages.size_bytes(pagemap.runs(area.start, area.end))
            ram_bytes += area_bytes
            if area.inode:
                shared_bytes += area_bytes
        for area in areas:
            # not by the whole path: QEMU may see the store at another path
            base_id = area.inode, os.path.basename(os.path.dirname(area.path))
            if base_id in bases:
                key = base_id[1]
                runs = pagemap.runs(area.start, area.end)
                base_mapped_bytes += pages.size_bytes(runs)
                bases[base_id].add(runs, area.offset_bytes)
                size_bytes += area.size_bytes
    merged_bytes = memory.merged_bytes(qemu.pid)
    if pagemap.with_merged:
        ram_bytes = max(0, ram_bytes - merged_bytes)
    return InstanceMemory(
        pid=qemu.pid, name=qemu.name, uuid=qemu.uuid, base=key,
        ram_bytes=ram_bytes,
        # the kernel's counters lag by a few pages of each processor
        qemu_bytes=max(0, status['RssAnon'] - merged_bytes
                       - (ram_bytes - shared_bytes)),
        page_tables_bytes=status['VmPTE'], swap_bytes=status['VmSwap'],
        base_mapped_bytes=base_mapped_bytes,
        page_structs_bytes=(size_bytes // pages.PAGE_BYTES
                            * PAGE_STRUCT_BYTES),
        guest_cache_bytes=caches.get(qemu.uuid),
        base_used_bytes=used.get(qemu.pid))


def ram_areas(areas, qemu):
    """Return the memory.Areas that are the guest's RAM.

    An area of shared RAM (memfd, hugetlbfs, a file) has exactly the size of a
    part of the RAM.
    """
    ram: list[memory.Area] = []
    for size_bytes in qemu.ram_bytes:
        rest = [area for area in areas if area not in ram]
        shared = [area for area in rest if area.permissions == 'rw-s'
                  and area.size_bytes == size_bytes]
        ram += shared[:1] or memory.guest_ram(rest, size_bytes)
    return ram
