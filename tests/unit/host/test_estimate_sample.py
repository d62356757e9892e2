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

"""Samples of the memory of a real process, and how good they are."""

import os
import subprocess
import sys

import testtools

from nova_flexmem.host import estimate_sample
from nova_flexmem.host import memory

PAGE = 4096
_PAGES = 4096

#: Has so many pages in memory: of them the first eighth are those of a file,
#: each of the rest differs from all others; then as many that are not.
_PROGRAM = '''
import mmap, os, sys
image, count = sys.argv[1], int(sys.argv[2])
ram = mmap.mmap(-1, 2 * count * 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
ram.write(open(image, 'rb').read())
while ram.tell() < count * 4096:
    ram.write(os.urandom(4096))
print('ready', flush=True)
sys.stdin.read()
'''


class TakeTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        image = [os.urandom(PAGE) for _page in range(_PAGES // 8)]
        self.known = set(map(estimate_sample.fingerprint, image))
        path = f'/var/tmp/flexmem-test-{os.getpid()}'
        with open(path, 'wb') as f:
            f.write(b''.join(image))
        self.addCleanup(os.unlink, path)
        self.popen = subprocess.Popen(
            [sys.executable, '-I', '-S', '-c', _PROGRAM, path, str(_PAGES)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.popen.communicate)
        self.addCleanup(self.popen.kill)
        self.popen.stdout.readline()
        self.areas = memory.guest_ram(
            memory.parse(memory.read(self.popen.pid, 'maps')),
            2 * _PAGES * PAGE)
        self.assertTrue(self.areas)

    def _take(self, limit):
        return estimate_sample.take(self.popen.pid, self.areas, self.known,
                                    limit)

    def test_all_pages(self):
        taken = self._take(1 << 20)
        # the kernel may have merged a small neighbour into the area
        self.assertTrue(_PAGES <= taken.pages < _PAGES + 64, taken)
        self.assertEqual(taken.pages, taken.read)
        self.assertEqual(_PAGES // 8, taken.equal)
        interval = taken.equal_pages
        self.assertEqual((taken.equal,) * 3,
                         (interval.estimate, interval.low, interval.high))

    def test_some_pages(self):
        for _run in range(10):
            taken = self._take(1024)
            self.assertEqual(1024, taken.read)
            # one of each four neighbours was read
            self.assertTrue(abs(taken.equal - 128) <= 3, taken)
            interval = taken.equal_pages
            self.assertTrue(interval.low < _PAGES / 8 < interval.high,
                            interval)

    def test_nothing_is_brought_into_memory(self):
        before = memory.fields(memory.read(self.popen.pid, 'status'))
        self._take(1 << 20)
        after = memory.fields(memory.read(self.popen.pid, 'status'))
        self.assertEqual(before['VmRSS'], after['VmRSS'])

    def test_a_process_that_ended(self):
        self.popen.kill()
        self.popen.wait()
        self.assertRaises((ProcessLookupError, FileNotFoundError),
                          self._take, 1024)

    def test_a_process_that_ends_meanwhile(self):
        read = estimate_sample._read

        def kill(*args):
            self.popen.kill()
            self.popen.wait()
            return read(*args)

        self.patch(estimate_sample, '_read', kill)
        self.assertRaises(ProcessLookupError, self._take, 1024)


class IntervalTest(testtools.TestCase):

    def test_known_values(self):
        # Wilson's interval of 10 of 100 is 5.5 to 17.4 %
        interval = estimate_sample.proportion(10, 100, 10 ** 9)
        self.assertAlmostEqual(0.1, interval.estimate / 10 ** 9)
        self.assertAlmostEqual(0.0552, interval.low / 10 ** 9, 3)
        self.assertAlmostEqual(0.1744, interval.high / 10 ** 9, 3)

    def test_nothing_found_is_not_nothing_there(self):
        interval = estimate_sample.proportion(0, 1000, 10 ** 6)
        self.assertEqual((0, 0), (interval.estimate, interval.low))
        self.assertTrue(3000 < interval.high < 4000, interval)

    def test_nothing_to_read(self):
        interval = estimate_sample.proportion(0, 0, 0)
        self.assertEqual((0, 0, 0), (interval.estimate, interval.low,
                                     interval.high))

    def test_how_often_the_interval_is_right(self):
        """Matches lie together, as the pages of files do."""
        total, wanted, right = 5000, 200, 0
        matches = [(position // 97) % 3 == 0 for position in range(total)]
        for _run in range(300):
            hits = sum(map(matches.__getitem__,
                           estimate_sample.choose(total, wanted)))
            interval = estimate_sample.proportion(hits, wanted, total)
            right += interval.low <= sum(matches) <= interval.high
        self.assertGreater(right, 300 * 0.93)

    def test_sum(self):
        whole = estimate_sample.add([
            estimate_sample.Interval(10, 7, 14),
            estimate_sample.Interval(20, 16, 23)])
        self.assertEqual((30, 25, 35), (whole.estimate, whole.low,
                                        whole.high))
        self.assertEqual(0, estimate_sample.add([]).estimate)


class ChooseTest(testtools.TestCase):

    def test_one_of_each_part(self):
        chosen = list(estimate_sample.choose(1003, 100))
        self.assertEqual(sorted(set(chosen)), chosen)
        self.assertEqual(100, len(chosen))
        for number, position in enumerate(chosen):
            self.assertTrue(number * 1003 // 100 <= position
                            < (number + 1) * 1003 // 100)

    def test_all(self):
        self.assertEqual([0, 1, 2], list(estimate_sample.choose(3, 3)))
        self.assertEqual([], list(estimate_sample.choose(0, 3)))
