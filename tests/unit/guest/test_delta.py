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
import subprocess

import fixtures
import testtools

from nova_flexmem import exception
from nova_flexmem.guest import delta
from nova_flexmem.image import sparse
from nova_flexmem import process

MIB = 1 << 20


class DeltaTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        if not process.available('mke2fs'):
            self.skipTest('mke2fs is not installed')
        self.path = os.path.join(self.useFixture(fixtures.TempDir()).path,
                                 'disk')

    def test_an_empty_ext4_that_takes_no_space(self):
        delta.create(self.path, 1024 * MIB)
        self.assertEqual(1024 * MIB, os.path.getsize(self.path))
        self.assertLess(sparse.written_bytes(self.path), 8 * MIB)
        subprocess.run(['/sbin/e2fsck', '-fn', self.path], check=True,
                       timeout=60, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        said = subprocess.run(
            ['/sbin/dumpe2fs', '-h', self.path], check=True, timeout=60,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True).stdout
        self.assertIn('flexmem-delta', said)
        self.assertIn('has_journal', said)
        for feature in ('orphan_file', 'metadata_csum_seed'):
            self.assertNotIn(feature, said)

    def test_too_small(self):
        e = self.assertRaises(exception.ProgramFailed, delta.create,
                              self.path, delta.MIN_SIZE_BYTES - 1)
        self.assertIn(self.path, str(e))
        self.assertFalse(os.path.exists(self.path))
        delta.create(self.path, delta.MIN_SIZE_BYTES)

    def test_an_existing_disk_is_kept(self):
        with open(self.path, 'w') as f:
            f.write('writes of an instance')
        self.assertRaises(FileExistsError, delta.create, self.path, 64 * MIB)
        with open(self.path) as f:
            self.assertEqual('writes of an instance', f.read())

    def test_nothing_is_left_of_a_failure(self):
        def fail(*_args, **_kwargs):
            raise exception.ProgramFailed(program='mke2fs', reason='x')

        with fixtures.MonkeyPatch('nova_flexmem.process.run', fail):
            self.assertRaises(exception.ProgramFailed, delta.create,
                              self.path, 64 * MIB)
        self.assertFalse(os.path.exists(self.path))
