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

"""Pages of real processes: this one, as the kernel tells of it."""

import mmap
import os
import tempfile

import testtools

from nova_flexmem.host import pages

_PAGE = mmap.PAGESIZE


class _Area:
    """Anonymous private memory of this process."""

    def __init__(self, count):
        self._count = count
        # Python's own mmap does not tell its address
        self.start = pages._call(
            pages._LIBC.mmap, None, count * _PAGE,
            mmap.PROT_READ | mmap.PROT_WRITE,
            mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        self.end = self.start + count * _PAGE
        # no huge pages, which would bring neighbours along
        pages._LIBC.madvise(pages.ctypes.c_void_p(self.start),
                            pages.ctypes.c_size_t(count * _PAGE),
                            mmap.MADV_NOHUGEPAGE)

    def write(self, page):
        pages.ctypes.memset(self.start + page * _PAGE, 1, 1)

    def read(self, page):
        pages.ctypes.string_at(self.start + page * _PAGE, 1)

    def close(self):
        pages._call(pages._LIBC.munmap, self.start, self._count * _PAGE)


class PagemapTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.pagemap = pages.Pagemap(os.getpid())
        self.addCleanup(self.pagemap.__exit__)

    def _both(self, start, end):
        """Return what either way of looking tells, which must be the same."""
        runs = self.pagemap.runs(start, end)
        self.assertEqual(runs, self.pagemap.read_runs(start, end))
        return runs

    def _area(self, count):
        area = _Area(count)
        self.addCleanup(area.close)
        return area

    def test_pages_that_were_written(self):
        area = self._area(64)
        self.assertEqual([], self._both(area.start, area.end))
        for page in (0, 1, 2, 40, 63):
            area.write(page)
        self.assertEqual([(0, 3), (40, 41), (63, 64)],
                         self._both(area.start, area.end))

    def test_zero_page_is_no_memory(self):
        area = self._area(8)
        area.read(3)
        self.assertEqual([], self._both(area.start, area.end))

    def test_more_runs_than_are_asked_for_at_a_time(self):
        count = 3 * pages._REGIONS
        area = self._area(2 * count)
        for page in range(0, 2 * count, 2):
            area.write(page)
        runs = self._both(area.start, area.end)
        self.assertEqual([(page, page + 1)
                          for page in range(0, 2 * count, 2)], runs)
        self.assertEqual(count * _PAGE, pages.size_bytes(runs))

    def test_part_of_an_area(self):
        area = self._area(16)
        for page in range(4, 12):
            area.write(page)
        self.assertEqual([(0, 6)], self._both(
            area.start + 6 * _PAGE, area.end))

    def test_process_that_has_gone(self):
        self.assertRaises(FileNotFoundError, pages.Pagemap, (1 << 22) + 1)


class ResidentTest(testtools.TestCase):

    def test_file_just_written_and_dropped(self):
        with tempfile.NamedTemporaryFile(dir='/var/tmp') as f:
            f.write(os.urandom(10 * _PAGE + 1))
            f.flush()
            self.assertEqual(11 * _PAGE, pages.resident_bytes(f.name))
            os.fsync(f.fileno())
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            self.assertEqual(0, pages.resident_bytes(f.name))

    def test_error_says_why(self):
        with tempfile.NamedTemporaryFile() as f:
            # nothing to map
            error = self.assertRaises(OSError, pages.resident_bytes, f.name)
        self.assertIn('Invalid argument', str(error))


class PageSetTest(testtools.TestCase):

    def test_each_page_counts_once(self):
        found = pages.PageSet()
        self.assertEqual(0, found.size_bytes)
        found.add([(0, 4), (8, 10)], 0)
        found.add([(2, 6)], 0)
        found.add([], 0)
        self.assertEqual(8 * _PAGE, found.size_bytes)

    def test_mappings_of_other_parts_of_the_file(self):
        found = pages.PageSet()
        found.add([(0, 2)], 0)
        found.add([(0, 2)], _PAGE)
        self.assertEqual(3 * _PAGE, found.size_bytes)
