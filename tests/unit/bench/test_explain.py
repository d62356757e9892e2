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

from unittest import mock

import numpy
import testtools

from nova_flexmem.bench import explain
from nova_flexmem.bench import pagetypes
from nova_flexmem import exception

_IOMEM = '''\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
00100000-1fffffff : System RAM
  00002000-00003fff : Kernel code
  00004000-00004fff : Kernel rodata
  00005000-00005fff : Kernel data
  00006000-00006fff : Kernel bss
100000000-1ffffffff : Persistent Memory (legacy)
'''

(_LRU, _SLAB, _BUDDY, _ANON, _SWAPBACKED, _TAIL, _TABLES, _RESERVED) = (
    1 << bit for bit in (5, 7, 10, 12, 14, 16, 26, 32))


def _words(*words):
    return numpy.array(words, dtype='<u8')


class KindsTest(testtools.TestCase):

    def _kinds(self, *flags, ranges=()):
        return [explain.KINDS[number]
                for number in explain.kinds_of(_words(*flags), ranges)]

    def test_by_flags(self):
        for kind, flags in (
                ('reserved at boot', _RESERVED), ('slab', _SLAB),
                ('page tables', _TABLES), ('other kernel pages', 0),
                ('page cache', _LRU), ('tmpfs', _LRU | _SWAPBACKED),
                ('anonymous', _LRU | _SWAPBACKED | _ANON), ('free', _BUDDY)):
            self.assertEqual([kind], self._kinds(flags))

    def test_parts_of_a_slab(self):
        self.assertEqual(['slab', 'slab', 'other kernel pages'],
                         self._kinds(_SLAB, _TAIL, 0))

    def test_image_of_the_kernel(self):
        ranges = explain.kernel_ranges(_IOMEM)
        # what it has given back since is what it is now
        self.assertEqual(
            ['reserved at boot', 'other kernel pages', 'kernel code',
             'kernel code', 'free', 'anonymous', 'kernel bss', 'slab'],
            self._kinds(_RESERVED, 0, _RESERVED, 0, _BUDDY, _LRU | _ANON,
                        _RESERVED, _SLAB, ranges=ranges))

    def test_kernel_that_hides_its_image(self):
        # as users other than root see it
        hidden = '00000000-00000000 : System RAM\n' \
                 '  00000000-00000000 : Kernel code\n'
        for text in (hidden, '', 'cat: /proc/iomem: none'):
            self.assertRaises(exception.BenchFailed, explain.kernel_ranges,
                              text)

    def test_parts_add_up(self):
        guest = mock.Mock()
        guest.output.return_value = _IOMEM
        flags = _words(_RESERVED, 0, _RESERVED, _SLAB, _LRU, _BUDDY)
        look = pagetypes.Look(flags, numpy.array([1, 1, 1, 1, 0, 0], bool),
                              numpy.array([0, 0, 0, 0, 1, 0], bool))
        parts = explain.parts(guest, look)
        self.assertEqual([*explain.KINDS], [*parts])
        self.assertEqual(4 * 4096, sum(part.private_bytes
                                       for part in parts.values()))
        self.assertEqual(pagetypes.Part(4096, 0), parts['kernel code'])
        self.assertEqual(pagetypes.Part(0, 4096), parts['page cache'])
        # as the four types have it
        types = pagetypes.parts(look)
        self.assertEqual(types['page cache'], parts['page cache'])
        self.assertEqual(4 * 4096, types['kernel'].private_bytes)

    def test_several_guests(self):
        self.assertEqual(
            {'a': pagetypes.Part(5, 7)}, pagetypes.total(
                [{'a': pagetypes.Part(1, 2)}, {'a': pagetypes.Part(4, 5)}]))
