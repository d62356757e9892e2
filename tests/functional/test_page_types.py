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

"""What this host's kernel tells of its page frames."""

import ctypes
import mmap
import os

import testtools

from nova_flexmem.bench import pagetypes
from nova_flexmem.host import pages

_PAGES = 64


class HostStatesTest(testtools.TestCase):

    def test_own_memory(self):
        if os.geteuid() != 0:
            self.skipTest('needs root, to read page flags')
        if not os.path.exists('/proc/kpageflags'):
            self.skipTest('this kernel has no /proc/kpageflags')
        area = mmap.mmap(-1, _PAGES * pages.PAGE_BYTES,
                         flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        area.madvise(mmap.MADV_NOHUGEPAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(area))
        for number in range(_PAGES):  # written, read (the zero page), neither
            if number % 3 == 0:
                area[number * pages.PAGE_BYTES] = 1
            elif number % 3 == 1:
                area[number * pages.PAGE_BYTES]
        with open('/proc/self/pagemap', 'rb', buffering=0) as f:
            f.seek(start // pages.PAGE_BYTES * 8)
            entries = pagetypes._words(f.read(_PAGES * 8))
        private, merged = pagetypes.host_states(entries,
                                                pagetypes.host_flags())
        self.assertEqual([number % 3 == 0 for number in range(_PAGES)],
                         private.tolist())
        self.assertFalse(merged.any())
