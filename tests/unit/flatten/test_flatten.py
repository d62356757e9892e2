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
import contextlib
import hashlib
import json
import os
import re
import subprocess

from nova_flexmem import exception
from nova_flexmem.flatten import flatten
from nova_flexmem.store import basestore
from tests.unit.image import diskimages
from tests.unit.image import samples

MIB = 1 << 20
_DELTA = '/dev/disk/guestfs/delta'


class Appliance(samples.Appliance):
    """Merges no files, but writes to the image's disk."""

    def __init__(self, drives, answers, programs):
        super().__init__(answers)
        self.drives = drives
        self._programs = programs

    def shell(self, script):
        encoded = re.search('echo ([^ ]+) | base64', script)
        if not encoded or 'merge.zip' not in script or 'head' in script:
            return super().shell(script)
        words = base64.b64decode(encoded[1]).decode().split('\0')
        self.commands.append(' '.join(words))
        if words[0] == 'merge':
            subprocess.run(['qemu-io', '-f', 'qcow2', '-c',
                            'write -P 7 1M 4k', self.drives[0].path],
                           check=True, stdout=subprocess.DEVNULL)
        return [json.dumps(self._programs[words[0]])]


class FlattenTest(diskimages.DiskImagesTestCase):

    def setUp(self):
        super().setUp()
        self.image = self.write('image', b'image' + bytes(2 * MIB - 5))
        self.delta = self.write('delta', bytes(MIB))
        self.store = basestore.Store(self.path('store'))
        os.mkdir(self.path('out'))
        self.answers = {
            f'vfs-type {_DELTA}': ['ext4'], f'vfs-uuid {_DELTA}': ['d-d'],
            'vfs-type /dev/sda1': ['ext4'], 'inspect-os': ['/dev/sda1'],
            'inspect-get-type /dev/sda1': ['linux'],
            'inspect-get-arch /dev/sda1': ['x86_64'],
            'inspect-get-distro /dev/sda1': ['debian'],
            'inspect-get-major-version /dev/sda1': ['12'],
            'inspect-get-minor-version /dev/sda1': ['7'],
            'mountpoints': ['/dev/sda1: /'],
            'part-list /dev/sda': ['  part_num: 1', '  part_start: 9']}
        with open(self.image, 'rb') as f:
            self.sha256 = hashlib.file_digest(f, 'sha256').hexdigest()
        self.programs = {
            'survey': {'lower_uuid': basestore.format_1_uuid(
                self.sha256, 'erofs'), 'size_bytes': 4096},
            'merge': {'written': 3, 'removed': 1, 'unclear': ['/a\x1b']}}
        self.stages = []
        self.meanwhile = lambda: None
        self.patch(flatten.appliance_module, 'Appliance', self.appliance)

    @contextlib.contextmanager
    def appliance(self, _home, drives, timeout_s, file_size_bytes, below):
        # its disks lie on these
        self.assertEqual((self.image, self.delta), below)
        self.running = Appliance(drives, self.answers, self.programs)
        yield self.running
        self.meanwhile()

    def flatten(self, **options):
        return flatten.flatten(
            self.store, self.image, self.delta, self.path('out/disk'),
            flatten.Options(**{'format': 'raw'} | options),
            lambda stage, _part: self.stages.append(stage))

    def assert_fails(self, kind, words, **options):
        e = self.assertRaises(kind, self.flatten, **options)
        self.assertIn(words, str(e))
        self.assertEqual([], os.listdir(self.path('out')))

    def test_what_is_written(self):
        made = self.flatten()
        self.assertEqual(
            flatten.Flattened(self.path('out/disk'), 'raw', 2 * MIB,
                              'debian 12.7', 3, 1, ['/a\\x1b']), made)
        with open(made.path, 'rb') as f:
            written = f.read()
        self.assertEqual((2 * MIB, b'image', b'\x07' * 4096), (
            len(written), written[:5], written[MIB:MIB + 4096]))
        with open(self.image, 'rb') as f:
            self.assertEqual(self.sha256, hashlib.file_digest(
                f, 'sha256').hexdigest())
        self.assertEqual(['disk'], os.listdir(self.path('out')))
        self.assertEqual(
            ['reading the image', 'starting the appliance',
             'inspecting the image and the delta',
             'merging the delta into the image', 'writing raw'],
            list(dict.fromkeys(self.stages)))

    def test_order_of_work(self):
        """The tree is writable before the merge, and surveyed before that."""
        self.flatten(direct_paths=('/var/lib/docker',), size_bytes=3 * MIB)
        order = [self.running.commands.index(command) for command in (
            'survey /tmp/delta /sysroot /var/lib/docker',
            'part-resize /dev/sda 1 -2048', 'resize2fs /dev/sda1',
            'mount-ro /dev/sda1 /', 'remount / rw:true',
            'merge /tmp/delta /sysroot /var/lib/docker')]
        self.assertEqual(sorted(order), order)
        self.assertEqual(3 * MIB, os.path.getsize(self.path('out/disk')))

    def test_image_that_the_delta_does_not_lie_on(self):
        self.programs['survey']['lower_uuid'] = 'another'
        self.assert_fails(exception.ImageRefused, 'it lies on base another')
        self.assertNotIn('merge /tmp/delta /sysroot', self.running.commands)
        self.flatten(image_sha256=self.sha256)

    def test_disk_that_would_be_full(self):
        self.programs['survey']['size_bytes'] = 1 << 60
        self.assert_fails(exception.FlattenFailed, 'free space in it')

    def test_image_that_is_full(self):
        self.programs['merge'] = {'full': '/boot'}
        self.assert_fails(exception.FlattenFailed,
                          'larger virtual size with --size')

    def test_image_that_changes_meanwhile(self):
        self.meanwhile = lambda: os.utime(self.delta, ns=(1, 1))
        self.assert_fails(exception.ImageRefused, 'changed while it was read')
