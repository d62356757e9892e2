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


import gzip
import lzma
import os

import fixtures
import testtools
import zstandard

from nova_flexmem import exception
from nova_flexmem.image import decompression
from tests.unit.image import samples

MIB = 1 << 20


class DecompressionTest(testtools.TestCase):
    """With the appliance's script, run here."""

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.files = {}

    def add(self, name, content):
        path = os.path.join(self.folder, f"$(touch x)'{len(self.files)}")
        with open(path, 'wb') as f:
            f.write(content)
        self.files[name] = path

    def read(self, max_all_bytes=64 * MIB, host=None):
        return decompression.read(
            host or samples.Host(), self.files, 8 * MIB, max_all_bytes,
            os.path.join(self.folder, 'plain'))

    def test_each_kind(self):
        # more than fits into one message
        contents = [os.urandom(size) for size in (0, 1, 5 * MIB, 2 * MIB)]
        for number, content in enumerate(contents):
            self.add(f'{number}.xz', lzma.compress(content, preset=0))
            self.add(f'{number}.zst', zstandard.compress(content))
            self.add(f'{number}.gz', gzip.compress(content, 1))
        found = self.read()
        self.assertEqual({*self.files}, {*found})
        for name, content in found.items():
            self.assertEqual(contents[int(name[0])], content, name)

    def test_damaged_ones_among_others(self):
        for suffix, content in (
                ('xz', b'text'), ('xz', lzma.compress(b'text')[:30]),
                ('zst', b'text'), ('zst', zstandard.compress(b'text')[:9]),
                ('gz', b'text'), ('gz', gzip.compress(b'text')[:15]),
                ('xz', b'')):
            self.add(f'damaged{len(self.files)}.{suffix}', content)
            self.add(f'right{len(self.files)}.gz', gzip.compress(b'right'))
        found = self.read()
        self.assertEqual(14, len(found))
        for name, content in found.items():
            if name.startswith('right'):
                self.assertEqual(b'right', content)
            else:
                self.assertIsInstance(content, str, name)
                self.assertTrue(content.isprintable() and content)

    def test_a_large_one(self):
        for suffix, content in (
                ('xz', lzma.compress(bytes(9 * MIB))),
                ('zst', zstandard.compress(bytes(9 * MIB))),
                ('gz', gzip.compress(bytes(9 * MIB)))):
            self.add(f'{suffix}.{suffix}', content)
        self.add('last.gz', gzip.compress(bytes(8 * MIB)))
        found = self.read()
        self.assertEqual(8 * MIB, len(found.pop('last.gz')))
        self.assertEqual(['it is too large'] * 3, [*found.values()])

    def test_many_that_are_too_much_together(self):
        for number in range(20):
            self.add(f'{number}.gz', gzip.compress(bytes(MIB)))
        self.assertEqual([f'{number}.gz' for number in range(10)],
                         [*self.read(10 * MIB)])

    def test_answers_that_are_no_answers(self):
        """Of an appliance that an image took over."""
        self.add('a.gz', b'')
        for answers in (['size 9', '%%%'], ['size 9', 'YQ=='],
                        ['size 99999999999', 'YQ==']):
            class Other:
                def __init__(self):
                    self.answers = [[answer] for answer in answers]

                def shell(self, _script):
                    return self.answers.pop(0) if self.answers else ['']
            self.assertRaises(exception.ProgramFailed, self.read,
                              host=Other())
        for answer in ('size -1', 'size 1e9', 'x\x1b[1m', 'why ', ''):
            class Odd:
                @staticmethod
                def shell(_script, answer=answer):
                    return [answer]
            why = self.read(host=Odd)['a.gz']
            self.assertIsInstance(why, str)
            self.assertTrue(why.isprintable() and why)
