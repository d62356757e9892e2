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

import base64
import gzip
import struct
from unittest import mock

import numpy
import testtools

from nova_flexmem.bench import pagetypes
from nova_flexmem import exception

_LRU, _BUDDY, _ANON, _SWAPBACKED, _TAIL, _NOPAGE, _KSM, _ZERO = (
    1 << bit for bit in (5, 10, 12, 14, 16, 20, 21, 24))
_SLAB = 1 << 7


def _words(*words):
    return numpy.array(words, dtype='<u8')


class GuestTypesTest(testtools.TestCase):

    def _types(self, *flags):
        return [pagetypes.TYPES[number] for number in
                pagetypes.guest_types(_words(*flags))]

    def test_types(self):
        self.assertEqual(
            ['page cache', 'anonymous', 'anonymous', 'free', 'kernel',
             'kernel', 'kernel'],
            self._types(_LRU, _LRU | _ANON | _SWAPBACKED, _LRU | _SWAPBACKED,
                        _BUDDY, _SLAB, 0, _NOPAGE))

    def test_compound_pages(self):
        self.assertEqual(
            ['anonymous', 'anonymous', 'anonymous', 'page cache',
             'page cache'],
            self._types(_LRU | _ANON, _TAIL, _TAIL, _LRU, _TAIL))


class HostStatesTest(testtools.TestCase):

    def test_states(self):
        present = 1 << 63
        private, merged = pagetypes.host_states(
            _words(0, present | 1, present | 2, present | 3, 1 << 62,
                   present | 77),
            _words(0, _ANON, _ANON | _KSM, _ZERO))
        self.assertEqual([False, True, False, False, False, True],
                         private.tolist())
        self.assertEqual([False, False, True, False, False, False],
                         merged.tolist())


class GuestFlagsTest(testtools.TestCase):

    def _flags(self, text, size=2 * 4096):
        guest = mock.Mock()
        guest.output.return_value = text
        return pagetypes._guest_flags(guest, size)

    def test_read(self):
        text = base64.b64encode(gzip.compress(struct.pack('<2Q', 32, 1024)))
        self.assertEqual([32, 1024], self._flags(text.decode()).tolist())

    def test_refused(self):
        short = base64.b64encode(gzip.compress(bytes(8))).decode()
        for text in ('', 'head: /proc/kpageflags: none', 'AAAA', short):
            self.assertRaises(exception.BenchFailed, self._flags, text)
        e = self.assertRaises(exception.BenchFailed, self._flags, short,
                              3 << 30)
        self.assertIn('--ram-mib', str(e))
