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

"""Builds of one image: what they must have in common, whoever makes them."""

import os
import random
import shutil
import subprocess

from nova_flexmem.build import builder
from nova_flexmem.image import appliance
from nova_flexmem import process
from nova_flexmem.store import basefiles
from nova_flexmem.store import superblock
from tests.functional import harness
from tests.functional import small_image

_DISK_BYTES = 128 << 20

#: What mkfs could take in another order, or at another time.
_ODD_FILES = r"""
    cd /sysroot/usr/share
    ln file second-name
    ln -s file link
    mkfifo pipe
    mknod device c 1 3
    setfattr -n user.note -v $(head -c 300 /dev/zero | tr '\0' x) file
    setfattr -n user.note -v shared tree/0/0 tree/1/0
    setfacl -m u:7:r tree/0/1
    chown 7:8 tree/0/2
    chmod 4755 tree/0/3
    touch -d @1000000000 tree/1/1
    truncate -s 5M hole
"""

_CHECKS = {'erofs': ('fsck.erofs',), 'ext4': ('e2fsck', '-fn')}


def _tree():
    """Return files in many folders, {path: content}."""
    chosen = random.Random(20261128)
    return {f'/usr/share/tree/{folder}/{name}':
            chosen.randbytes(chosen.choice((0, 10, 5000, 20000)))
            for folder in range(40) for name in range(50)}


class SameBytesTest(harness.StoreTestCase):
    """A layout follows from the image's files and the host's programs."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.raw = os.path.join(cls.folder, 'image.raw')
        cls._make_image()
        cls.qcow2 = os.path.join(cls.folder, 'image.qcow2')
        process.run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2',
                    cls.raw, cls.qcow2, timeout_s=60)

    @classmethod
    def _make_image(cls):
        with open(cls.raw, 'xb') as f:
            f.truncate(_DISK_BYTES)
        drive = appliance.Drive(cls.raw, 'raw', False, 'image')
        with appliance.Appliance(
                cls.store.folder('appliance'), [drive], timeout_s=600,
                file_size_bytes=_DISK_BYTES) as a:
            small_image.fill(a, drive.device, 'ext4',
                             small_image.GOOD | _tree(), cls.folder)
            a.shell(f'mount {drive.device} /sysroot\n{_ODD_FILES}\n'
                    'cd /\numount /sysroot')

    def _build(self, image, rootfs):
        base, new = builder.build(self.store, image,
                                  builder.Options(rootfs=rootfs))
        self.assertTrue(new)
        self.addCleanup(self.store.remove, base.key)
        base.verify()
        return base

    def _check(self, base):
        """Have the filesystem's own program check it."""
        rootfs = base.manifest.rootfs
        path = os.path.join(self.folder, rootfs)
        with (open(base.file(basefiles.ROOT_PMEM), 'rb') as reading,
              open(path, 'xb') as writing):
            reading.seek(superblock.DATA_OFFSET_BYTES)
            shutil.copyfileobj(reading, writing)
        done = subprocess.run([*_CHECKS[rootfs], path], text=True,
                              env=process.environment(),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(0, done.returncode, done.stdout)

    def _assert_same(self, rootfs):
        first = self._build(self.raw, rootfs)
        self._check(first)
        # two images to the store, with the same disk in them
        other = self._build(self.qcow2, rootfs)
        self.assertNotEqual(first.key, other.key)
        self.assertEqual(first.manifest.uuid, other.manifest.uuid)
        self.assertEqual(first.manifest.files, other.manifest.files)

    def test_erofs(self):
        self._assert_same('erofs')

    def test_ext4(self):
        self._assert_same('ext4')
