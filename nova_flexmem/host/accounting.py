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

"""What instances and bases hold of this host's memory, and what is saved.

It reads page tables, changes nothing, and reclaims nothing. doc/source/
memory.rst tells what each figure means and where it comes from.
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

#: sizeof(struct page): what a guest's kernel keeps for each page of a device.
_PAGE_STRUCT_BYTES = 64


@dataclasses.dataclass(frozen=True)
class InstanceMemory:
    """What one QEMU process and its guest hold.

    :ivar base: key of its base; None for a stock instance
    :ivar ram_bytes: the guest's RAM as far as it is backed by memory of this
        process alone
    :ivar qemu_bytes: all other anonymous memory of the process
    :ivar page_tables_bytes: the kernel's, for the process
    :ivar swap_bytes: swapped out, in no other figure
    :ivar base_mapped_bytes: pages of its base in its page table: those that
        the guest touched, and those that the kernel mapped around them
    :ivar page_structs_bytes: of the guest's RAM, what its kernel keeps for
        the pages of the FlexMem device
    :ivar guest_cache_bytes: the guest's own page cache; None if its balloon
        does not tell
    :ivar base_used_bytes: pages of its base that it used in the time that was
        waited; None if it was not found out
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
    """What a base holds, and what it saves.

    :ivar resident_bytes: of root.pmem in the host's page cache, used or not
    :ivar mapped_bytes: pages that any of its instances has mapped, each
        counted once
    """

    key: str
    resident_bytes: int
    mapped_bytes: int
    instances: list[InstanceMemory]

    @property
    def saved_at_most_bytes(self):
        """All that instances have mapped, less what is there of it."""
        return (sum(each.base_mapped_bytes for each in self.instances)
                - self.mapped_bytes)

    @property
    def saved_at_least_bytes(self):
        """All that instances used, less all that any has mapped; or None.

        None if it is not known of one of them what it used.
        """
        used = [each.base_used_bytes for each in self.instances
                if each.base_used_bytes is not None]
        if not used or len(used) < len(self.instances):
            return None
        return max(0, sum(used) - self.mapped_bytes)


@dataclasses.dataclass(frozen=True)
class HostMemory:
    """What there is on a host.

    :ivar bases: all bases of the store, by key
    :ivar stock: the instances without any of them
    """

    bases: list[BaseMemory]
    stock: list[InstanceMemory]

    @property
    def instances(self):
        return [each for of_base in self.bases for each in of_base.instances
                ] + self.stock


def take(store, used=None):
    """Account for the memory of this host.

    :param store: the base store.Store
    :param used: {pid: bytes} of bases as working_set.measure() has it
    :raises: HostUnfit if this user may not look, StoreUnusable
    """
    bases = {}
    with store.reporting():
        for key in store.keys():
            # nova-compute may remove one that nobody uses meanwhile
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
                reason=f'no memory figures of process {qemu.pid} ({e}); only'
                ' root may read the page tables of others')
        except (FileNotFoundError, ProcessLookupError) as e:
            LOG.debug('QEMU process %s ended meanwhile: %s', qemu.pid, e)
    found = []
    with store.reporting():
        for (_inode, key), mapped in bases.items():
            with contextlib.suppress(FileNotFoundError):
                found.append(BaseMemory(
                    key, pages.resident_bytes(_root_pmem(store, key)),
                    mapped.size_bytes,
                    [each for each in instances if each.base == key]))
    return HostMemory(found,
                      [each for each in instances if each.base is None])


def _root_pmem(store, key):
    return os.path.join(store.folder('bases'), key, basefiles.ROOT_PMEM)


def areas_of(pid, path_end='/' + basefiles.ROOT_PMEM):
    """Return the Areas of a process that are anonymous, or map root.pmem."""
    lines = memory.read(pid, 'maps').splitlines()
    # the many areas of program files would take most of the time
    return memory.parse('\n'.join(
        line for line in lines if line.endswith((' 00:00 0 ', path_end))
        or ' rw-s ' in line))


def _instance(qemu, bases, caches, used):
    """Return the InstanceMemory of a Qemu.

    :param bases: {(inode, key): PageSet}, to which its pages are added
    """
    status = memory.fields(memory.read(qemu.pid, 'status'))
    if 'RssAnon' not in status:
        raise ProcessLookupError('it has no memory any more')
    areas = areas_of(qemu.pid)
    key = None
    ram_bytes = shared_bytes = base_mapped_bytes = size_bytes = 0
    with pages.Pagemap(qemu.pid) as pagemap:
        for area in _ram(areas, qemu):
            area_bytes = pages.size_bytes(pagemap.runs(area.start, area.end))
            ram_bytes += area_bytes
            if area.inode:
                shared_bytes += area_bytes
        for area in areas:
            # not the whole path, which QEMU may see in another place
            found = area.inode, os.path.basename(os.path.dirname(area.path))
            if found in bases:
                key = found[1]
                runs = pagemap.runs(area.start, area.end)
                base_mapped_bytes += pages.size_bytes(runs)
                bases[found].add(runs, area.offset_bytes)
                size_bytes += area.size_bytes
    merged_bytes = _merged_bytes(qemu.pid)
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
                            * _PAGE_STRUCT_BYTES),
        guest_cache_bytes=caches.get(qemu.uuid),
        base_used_bytes=used.get(qemu.pid))


def _ram(areas, qemu):
    """Return the Areas that are the guest's RAM.

    One that is shared (memfd, hugetlbfs, a file) has the exact size.
    """
    found: list[memory.Area] = []
    for size_bytes in qemu.ram_bytes:
        rest = [area for area in areas if area not in found]
        shared = [area for area in rest if area.permissions == 'rw-s'
                  and area.size_bytes == size_bytes]
        found += shared[:1] or memory.guest_ram(rest, size_bytes)
    return found


def _merged_bytes(pid):
    """Return how much of a process KSM has merged; 0 before Linux 5.19."""
    try:
        return int(memory.read(pid, 'ksm_merging_pages')) * pages.PAGE_BYTES
    except FileNotFoundError:
        return 0
