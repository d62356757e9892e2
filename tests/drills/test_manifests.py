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

"""Manifests that are cut short or have a flipped bit somewhere."""

import os

from nova_flexmem import exception
from nova_flexmem.store import basefiles
from tests.drills import harness
from tests.unit.image import samples

_KEY = 'a' * 32
_SHOWN = 20


class ManifestsTest(harness.DrillTestCase):

    def setUp(self):
        super().setUp()
        self.store = self.new_store()
        self.path = os.path.join(samples.publish(self.store, _KEY),
                                 basefiles.MANIFEST)
        with open(self.path, 'rb') as f:
            self.whole = f.read()
        os.chmod(self.path, 0o644)

    def _write(self, content):
        with open(self.path, 'wb') as f:
            f.write(content)

    def _taken(self):
        """Return whether a base with this manifest would be used."""
        try:
            self.store.use(_KEY, 'somebody')
        except exception.BaseDamaged as e:
            self.assertIn(self.store.path, str(e))
            self.assertIn(f'base {_KEY} again', str(e))
            self.assertEqual([], self.store.users(_KEY))
            return False
        self.store.release(_KEY, 'somebody')
        return True

    def _commands(self, content):
        """See that the commands tell of it."""
        self._write(content)
        code, out, error = self.command(self.store, 'list')
        self.assertEqual((0, True), (code, 'damaged' in out), error)
        code, _out, error = self.command(self.store, 'verify', '--all')
        self.assertEqual((1, True), (code, self.path in error), error)

    def test_torn_manifest(self):
        taken = []
        for size in range(len(self.whole)):
            self._write(self.whole[:size])
            if self._taken():
                taken.append(size)
        sizes = self.random.sample(range(len(self.whole) - 2), _SHOWN - 2)
        for size in (0, 1, *sizes):
            self._commands(self.whole[:size])
        code, _out, error = self.command(self.store, 'remove', _KEY)
        self.assertEqual(0, code, error)
        self.assertEqual(harness.traces(self.new_store()),
                         harness.traces(self.store))
        samples.publish(self.store, _KEY)
        self.assertTrue(self._taken())
        # what lacks the last newline alone says all there is to say
        self.assertEqual(len(self.whole) - 1, taken.pop())
        self.figures(lengths=len(self.whole) - 1, used=len(taken),
                     by_commands=_SHOWN)
        self.assertEqual([], taken)

    def test_flipped_bits_in_manifest(self):
        taken = []
        for position in range(len(self.whole)):
            for bit in range(8):
                content = bytearray(self.whole)
                content[position] ^= 1 << bit
                self._write(content)
                if self._taken():
                    taken.append((position, bit, self.whole[
                        max(0, position - 10):position + 10]))
        self.figures(bits=8 * len(self.whole), used=len(taken))
        self.assertEqual([], taken)
