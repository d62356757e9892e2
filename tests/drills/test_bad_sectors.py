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

"""Files that cannot be read any more: images, and bases."""

import errno
import os

from nova_flexmem import exception
from nova_flexmem.store import basefiles
from tests.drills import faulty
from tests.drills import harness
from tests.functional import harness as functional
from tests.functional import small_image
from tests.unit.image import samples

_KEY = 'a' * 32
_SECTOR_BYTES = 512
_CAUSE = os.strerror(errno.EIO)


class BadSectorsTest(harness.DrillTestCase):

    def setUp(self):
        super().setUp()
        self.disk = self.enterContext(faulty.Mounted(
            self.new_folder(), self.new_folder()))

    def _sectors(self, size_bytes, count):
        """Return the first byte of some sectors: both ends and random ones."""
        sectors = size_bytes // _SECTOR_BYTES
        return [sector * _SECTOR_BYTES for sector in (
            0, 1, 2, sectors - 1,
            *self.random.sample(range(sectors), count - 4))]

    def test_bad_sectors_in_image(self):
        path = os.path.join(self.disk.path, 'image.raw')
        with open(path, 'wb') as f:
            f.write(self.random.randbytes(4096))
            f.truncate(small_image.DISK_BYTES)
        store = self.new_store()
        empty = harness.traces(store)
        wrong = []
        for byte in self._sectors(small_image.DISK_BYTES, harness.POINTS):
            self.disk.fail(faulty.Fault(errno.EIO, ('read',),
                                        first_byte=byte))
            code, _out, error = self.command(store, 'build', path)
            if (code != 1 or path not in error or _CAUSE not in error
                    or harness.traces(store) != empty):
                wrong.append((byte, code, error))
        self.figures(sectors=harness.POINTS, seed=harness.SEED,
                     wrong=len(wrong))
        self.assertEqual([], wrong)

    def test_bad_sectors_in_base(self):
        store = functional.store_at(self.disk.path)
        path = samples.publish(store, _KEY,
                               content=self.random.randbytes(1 << 20))
        wrong, count = [], 0
        for name in basefiles.FILES:
            file = os.path.join(path, name)
            size = os.path.getsize(file)
            sectors = (self._sectors(size, harness.POINTS)
                       if size > 4 * _SECTOR_BYTES else [0])
            for byte in sectors:
                count += 1
                self.disk.fail(faulty.Fault(
                    errno.EIO, ('read',), path=name, first_byte=byte))
                code, _out, error = self.command(store, 'verify', _KEY)
                if code != 1 or file not in error or _CAUSE not in error:
                    wrong.append((name, byte, code, error))
                e = self.assertRaises(exception.BaseDamaged, store.use, _KEY,
                                      'somebody')
                self.assertIn(file, str(e))
                self.assertEqual([], store.users(_KEY))
        self.disk.fail()
        store.use(_KEY, 'somebody')
        self.figures(sectors=count, seed=harness.SEED, wrong=len(wrong))
        self.assertEqual([], wrong)
