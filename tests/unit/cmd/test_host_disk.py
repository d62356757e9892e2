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

import contextlib
import io
import json
import os

import fixtures
import testtools

from nova_flexmem.cmd import main
from nova_flexmem.store import basestore
from tests.unit.image import samples

MIB = 1 << 20
_KEYS = ('0' * 32, '1' * 32)
_USERS = ('11111111-1111-4111-8111-111111111111',
          '22222222-2222-4222-8222-222222222222')


class HostDiskTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.store = basestore.Store(f'{self.folder}/store')
        for key in _KEYS:
            samples.publish(self.store, key)
        for user in _USERS:
            self.store.use(_KEYS[0], user)
            os.makedirs(f'{self.folder}/instances/{user}')
        with open(f'{self.folder}/instances/{_USERS[0]}/disk', 'wb') as f:
            f.write(b'x' * MIB)
            f.truncate(1 << 30)

    def run_command(self, *words):
        self.useFixture(fixtures.FakeLogger())
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.assertEqual(0, main.main([
                f'--store={self.store.path}', 'host', 'disk', '--instances',
                f'{self.folder}/instances', *words]))
        return out.getvalue()

    def test_for_programs(self):
        used, first, second, unused, host = json.loads(
            self.run_command('-f', 'json'))
        self.assertEqual(['base', 'instance', 'instance', 'base', 'host'], [
            row['kind'] for row in (used, first, second, unused, host)])
        self.assertEqual(_USERS, (first['instance'], second['instance']))
        self.assertEqual(_KEYS[0], second['base'])
        # what is allocated, not the size; and none without a file
        self.assertEqual(MIB, first['delta_bytes'])
        self.assertIsNone(second['delta_bytes'])
        self.assertEqual((MIB, 0), (used['delta_bytes'],
                                    unused['delta_bytes']))
        self.assertGreater(unused['base_bytes'], 0)
        self.assertEqual(used['base_bytes'] + unused['base_bytes'],
                         host['base_bytes'])
        self.assertEqual(MIB, host['delta_bytes'])

    def test_table(self):
        said = self.run_command()
        self.assertIn(f'| instance | 00000000 | {_USERS[0]} |', said)
        self.assertIn('Delta MiB', said)
