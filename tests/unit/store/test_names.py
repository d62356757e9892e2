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

import os

import fixtures
import testtools

from nova_flexmem.store import names as names_module

_A = 'a' * 32
_B = 'b' * 32


class NamesTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.names = names_module.Names(self.folder)
        self.writing = self.useFixture(fixtures.TempDir()).path

    def set(self, name, key):
        self.names.set(name, key, self.writing)

    def test_what_names_can_be(self):
        for name in ('5f0b9d6e-8f0e-4b6c-a1f4-3b8a6d3c2e10', 'a', '.a', '_',
                     'x' * 255, 'image.auto.project'):
            self.set(name, _A)
            self.assertEqual(_A, self.names.get(name), name)
        for name in ('', '.', '..', 'a/b', '../a', 'x' * 256, 'ä', 'a b',
                     'a\n', '~a'):
            for function in (lambda name=name: self.set(name, _A),
                             lambda name=name: self.names.get(name)):
                e = self.assertRaises(ValueError, function)
                self.assertIn(repr(name), str(e))

    def test_of_and_drop(self):
        for name, key in (('c', _A), ('a', _A), ('b', _B)):
            self.set(name, key)
        self.assertEqual(['a', 'c'], self.names.of(_A))
        self.names.drop(_A)
        self.assertEqual([], self.names.of(_A))
        self.assertEqual(['b'], os.listdir(self.folder))

    def test_a_write_that_fails_leaves_the_old_one(self):
        self.set('a', _A)

        def full(*_args):
            raise OSError(28, 'No space left on device')

        with fixtures.MonkeyPatch('os.fsync', full):
            self.assertRaises(OSError, self.set, 'a', _B)
        self.assertEqual(_A, self.names.get('a'))
        self.assertEqual([], self.names.of(_B))
        self.assertEqual(['a'], os.listdir(self.folder))

    def test_garbage(self):
        with open(os.path.join(self.folder, 'a'), 'wb') as f:
            f.write(b'\xff\xfe')
        open(os.path.join(self.folder, 'b'), 'w').close()
        self.assertIsNone(self.names.get('a'))
        self.assertIsNone(self.names.get('b'))
