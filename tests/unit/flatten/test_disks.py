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

from nova_flexmem import exception
from nova_flexmem.flatten import disks
from tests.unit.image import diskimages

MIB = 1 << 20


class DisksTest(diskimages.DiskImagesTestCase):

    def test_overlay_is_written_as_one_file(self):
        image = self.inspect(self.write('image', b'data' * 1024))
        overlay = disks.overlay(self.path('overlay'), image, 2 * MIB)
        subprocess.run(['qemu-io', '-f', 'qcow2', '-c', 'write -P 7 1M 4k',
                        overlay], check=True, stdout=subprocess.DEVNULL)
        self.assertLess(disks.copy_bytes(overlay, 'qcow2'), MIB)
        self.assertEqual(2 * MIB, disks.copy_bytes(overlay, 'raw'))
        parts = []
        disks.write(overlay, self.path('out'), 'raw', 2 * MIB,
                    estimate_bytes=8192, timeout_s=60, progress=parts.append)
        with open(self.path('out'), 'rb') as f:
            written = f.read()
        self.assertEqual(2 * MIB, len(written))
        self.assertEqual(b'data' * 1024, written[:4096])
        self.assertEqual(b'\x07' * 4096, written[MIB:MIB + 4096])
        with open(image.path, 'rb') as f:
            self.assertEqual(b'data' * 1024, f.read())

    def test_file_in_the_way(self):
        image = self.inspect(self.write('image', b'data' * 1024))
        overlay = disks.overlay(self.path('overlay'), image, MIB)
        taken = self.write('out', b'precious')
        self.assertRaises(FileExistsError, disks.write, overlay, taken, 'raw',
                          MIB, estimate_bytes=1, timeout_s=60,
                          progress=lambda _part: None)
        with open(taken, 'rb') as f:
            self.assertEqual(b'precious', f.read())

    def test_states(self):
        image = self.inspect(self.write('image', b'data' * 1024))
        before = disks.states([image])
        with open(image.path, 'rb') as f:
            f.read()
        self.assertEqual(before, disks.states([image]))
        os.utime(image.path, ns=(1, 1))
        self.assertNotEqual(before, disks.states([image]))

    def test_room(self):
        folder = self.path('work')
        os.mkdir(folder)
        disks.check_room(folder, 1, '/image', '/delta')
        e = self.assertRaises(exception.FlattenFailed, disks.check_room,
                              folder, 1 << 60, '/image', '/delta')
        self.assertIn(f'{self.folder} has', str(e))
        self.assertIn('free space in it', str(e))
