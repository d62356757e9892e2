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

"""Images whose filesystems are damaged, as a tenant may have made them.

They are made without checksums where the filesystem can be, so that what is
damaged is read and not just refused. A build may refuse an image, or make a
base of what could be read.
"""

import os
import shutil
import time

from tests.drills import harness
from tests.functional import small_image

MIB = 1 << 20

#: {filesystem: (how it is made, size of the image in MiB,
#:               extents with what describes the filesystem, in bytes)}
_KINDS = {
    'ext4': ('mkfs.ext4 -q -O ^metadata_csum,^64bit', 48,
             ((1024, 1024), (4096, 64), (64 << 10, 4096))),
    'xfs': ('mkfs.xfs -q -m crc=0', 320,
            ((0, 512), (512, 2048), (64 << 10, 4096))),
    'btrfs': ('mkfs.btrfs -q', 128,
              ((64 << 10, 4096), (22 * MIB, 65536))),
}

#: How many bytes are damaged at once.
_BYTES = (1, 1, 4, 64)


class DamagedTest(harness.DrillTestCase):

    def test_damaged_ext4(self):
        self._damage('ext4')

    def test_damaged_xfs(self):
        self._damage('xfs')

    def test_damaged_btrfs(self):
        self._damage('btrfs')

    def _damage(self, filesystem):
        store = self.new_store()
        make, size_mib, extents = _KINDS[filesystem]
        image = os.path.join(self.folder, f'{filesystem}.raw')
        small_image.create(image, store, make, size_mib * MIB)
        self.assertEqual(0, self.command(store, 'build', image)[0])
        store.remove(*store.keys())
        empty = harness.traces(store)
        built, slowest_s, wrong = 0, 0.0, []
        points = max(2, harness.POINTS // 3)
        for _point in range(points):
            damaged = os.path.join(self.folder, 'damaged.raw')
            shutil.copyfile(image, damaged)
            where = self._overwrite(damaged, extents)
            began = time.monotonic()
            code, _out, error = self.command(store, 'build', damaged)
            slowest_s = max(slowest_s, time.monotonic() - began)
            if code == 0:
                built += 1
                key, = store.keys()
                store.get(key).verify()
                store.remove(key)
            elif code != 1 or damaged not in error:
                wrong.append((where, code, error))
            if harness.traces(store) != empty:
                wrong.append((where, harness.traces(store)))
        self.figures(images=points, seed=harness.SEED,
                     refused=points - built, built=built, wrong=len(wrong),
                     slowest_s=round(slowest_s, 1))
        self.assertEqual([], wrong)

    def _overwrite(self, path, extents):
        """Damage a few bytes; return where, and which they are now."""
        offset, size = self.random.choice(extents)
        content = self.random.randbytes(self.random.choice(_BYTES))
        offset += self.random.randrange(size)
        with open(path, 'r+b') as f:
            f.seek(offset)
            f.write(content)
        return offset, content.hex()
