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

"""Memory figures from smaps of QEMU processes, as captured."""

import mmap
import os
import tempfile

import testtools

from nova_flexmem import exception
from nova_flexmem.host import memory

_MIB = 1 << 20

#: (first line, size, private clean, private dirty, swap), sizes in KiB
_HEAP = ('55c00eeab000-55c0103fa000 rw-p 00000000 00:00 0'
         '                          [heap]', 21820, 0, 5320, 12)
_GUARD = ('7fa6abcff000-7fa6abd00000 ---p 00000000 00:00 0 ', 4, 0, 0, 0)
_SMALL = ('7fa6abd00000-7fa6abe00000 rw-p 00000000 00:00 0 ',
          1024, 0, 64, 0)
_RAM = ('7fa6abe00000-7fa6cbe00000 rw-p 00000000 00:00 0 ',
        524288, 0, 313344, 256)
_CODE = ('7fa6cc000000-7fa70bfff000 rwxp 00000000 00:00 0 ',
         1048572, 0, 30720, 0)
_TEXT = ('7fa718000000-7fa718800000 r-xp 00000000 fe:00 4711'
         '                       /usr/bin/qemu-system-x86_64',
         8192, 6144, 0, 0)
_BASE = ('7fa69b800000-7fa6a3800000 r--s 00000000 fe:00 815'
         '                        /var/lib/x/root.pmem',
         131072, 65536, 0, 0)

_SMAPS = [_HEAP, _BASE, _GUARD, _SMALL, _RAM, _CODE, _TEXT]


def _smaps(areas):
    return ''.join(f"""\
{header}
Size:           {size:8} kB
KernelPageSize:        4 kB
Rss:            {clean + dirty:8} kB
Shared_Clean:          0 kB
Private_Clean:  {clean:8} kB
Private_Dirty:  {dirty:8} kB
Swap:           {swap:8} kB
THPeligible:           1
VmFlags: rd wr mr mw me ac
""" for header, size, clean, dirty, swap in areas)


def _split(area, middle):
    """Return an area cut in two at an address."""
    header, size, clean, dirty, swap = area
    bounds, rest = header.split(' ', 1)
    start, end = bounds.split('-')
    return [(f'{start}-{middle} {rest}', size // 2, clean, dirty, swap),
            (f'{middle}-{end} {rest}', size // 2, 0, 1024, 0)]


class MemoryTest(testtools.TestCase):

    def _usage(self, areas, ram_mib=512):
        def read(pid, name):
            return {'smaps': _smaps(areas),
                    'status': 'Name:\tqemu\nVmPTE:\t    2048 kB\n'}[name]

        self.patch(memory, 'read', read)
        return memory.of_process(4711, ram_mib * _MIB)

    def test_where_the_memory_goes(self):
        usage = self._usage(_SMAPS)
        self.assertEqual(306 * _MIB, usage.ram_bytes)
        self.assertEqual((5320 + 64 + 30720) << 10, usage.qemu_bytes)
        self.assertEqual(2 * _MIB, usage.page_tables_bytes)
        self.assertEqual((256 + 12) << 10, usage.swap_bytes)
        self.assertEqual(
            usage.ram_bytes + usage.qemu_bytes + usage.page_tables_bytes,
            usage.private_bytes)

    def test_translated_code(self):
        self._usage(_SMAPS)
        self.assertEqual(30720 << 10, memory.translated_bytes(4711))

    def test_cache_of_files_is_nobodys(self):
        """Program text and base pages do not depend on who else maps them."""
        self.assertEqual(
            self._usage(_SMAPS),
            self._usage([area for area in _SMAPS
                         if area not in (_TEXT, _BASE)]))

    def test_ram_that_was_split(self):
        parts = _split(_RAM, '7fa6bbe00000')
        usage = self._usage([_HEAP, _GUARD, *parts, _CODE])
        self.assertEqual((313344 + 1024) << 10, usage.ram_bytes)

    def test_ram_that_was_merged_with_a_neighbour(self):
        merged = ('7fa6abd00000-7fa6cbe00000 rw-p 00000000 00:00 0 ',
                  525312, 0, 313408, 0)
        bigger = ('7fa600000000-7fa640000000 rw-p 00000000 00:00 0 ',
                  1048576, 0, 8, 0)
        usage = self._usage([_HEAP, bigger, merged, _CODE])
        self.assertEqual(313408 << 10, usage.ram_bytes)

    def test_ram_of_another_kind_is_refused(self):
        error = self.assertRaises(exception.ProgramFailed, self._usage,
                                  [_HEAP, _CODE, _TEXT])
        self.assertIn('process 4711', str(error))
        self.assertIn('512 MiB', str(error))

    def test_process_that_has_gone(self):
        error = self.assertRaises(exception.ProgramFailed, memory.of_process,
                                  (1 << 22) + 1, _MIB)
        self.assertIn('memory is not known', str(error))

    def test_meminfo(self):
        self.assertEqual(
            {'MemTotal': 481276 << 10, 'Cached': 75400 << 10},
            memory.fields('MemTotal:         481276 kB\n'
                          'Active(anon):        100 kB\n'
                          'HugePages_Total:       0\n'
                          'Cached:            75400 kB\n'))

    def test_host_has_memory_available(self):
        self.assertGreater(memory.host_available_bytes(), _MIB)


class MappedTest(testtools.TestCase):

    def test_each_page_counts_once(self):
        """Of this process, twice, the pages that it really touched."""
        page = mmap.PAGESIZE
        with tempfile.NamedTemporaryFile() as f:
            f.truncate(64 * page)
            with mmap.mmap(f.fileno(), 64 * page, mmap.MAP_SHARED,
                           mmap.PROT_READ) as area:
                area.madvise(mmap.MADV_RANDOM)
                pids = [os.getpid(), os.getpid()]
                before = memory.mapped_bytes(pids, f.name)
                touched = [area[0], area[40 * page]]
                after = memory.mapped_bytes(pids, f.name)
        self.assertEqual([0, 0], touched)
        self.assertEqual(0, before)
        # pages around a touched one may be mapped along with it
        self.assertIn(after // page, range(2, 33 + 1))

    def test_file_that_nobody_maps(self):
        self.assertEqual(0, memory.mapped_bytes([os.getpid()], '/nowhere'))
