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

"""The data of raw and qcow2 files that qemu-img made."""

import os
import struct
import subprocess

from nova_flexmem import exception
from nova_flexmem.host import estimate_disk
from nova_flexmem.image import source
from tests.unit.image import diskimages

PAGE = 4096
MIB = 1 << 20


class ChunksTest(diskimages.DiskImagesTestCase):

    def setUp(self):
        super().setUp()
        # 3 MiB: data, a hole with a page in its middle, data that repeats;
        # it can be compressed, or qemu-img would not
        self.data = [os.urandom(PAGE // 4).hex().encode() * 2
                     for _page in range(300)]
        self.content = b''.join([
            *self.data[:256], bytes(MIB // 2), self.data[256],
            bytes(MIB // 2 - PAGE), *self.data[257:], self.data[0] * 213])

    def _chunks(self, path):
        self.fractions = []
        found = list(estimate_disk.chunks(self.inspect(path, 64 * MIB),
                                          self.fractions.append))
        for chunk in found:
            self.assertEqual(0, len(chunk) % PAGE)
        return found

    def _pages(self, path):
        """Return the pages of an image that are not zero, a set."""
        content = b''.join(self._chunks(path))
        return {content[start:start + PAGE]
                for start in range(0, len(content), PAGE)} - {bytes(PAGE)}

    def test_raw(self):
        path = self.path('image.raw')
        with open(path, 'wb') as f:
            for start in range(0, len(self.content), PAGE):
                if any(self.content[start:start + PAGE]):
                    f.seek(start)
                    f.write(self.content[start:start + PAGE])
            f.truncate(16 * MIB)
        self.assertEqual(set(self.data), self._pages(path))
        # holes are not read
        self.assertLess(sum(map(len, self._chunks(path))), 4 * MIB)
        self.assertTrue(all(0 <= each <= 1 for each in self.fractions))

    def test_raw_that_ends_within_a_page(self):
        path = self.write('image.raw', b'x' * 512 + bytes(512))
        self.assertEqual({b'x' * 512 + bytes(PAGE - 512)}, self._pages(path))

    def test_qcow2(self):
        for options in ((), ('-c',), ('-c', '-o', 'compression_type=zstd'),
                        ('-o', 'cluster_size=512'),
                        ('-c', '-o', 'cluster_size=1024'),
                        ('-o', 'cluster_size=2M'), ('-o', 'compat=0.10')):
            path = self.qcow2(f'{options}.qcow2', self.content, *options)
            self.assertEqual(set(self.data), self._pages(path), options)
            self.assertTrue(all(0 <= each <= 1 for each in self.fractions))

    def test_clusters_that_became_zeros(self):
        path = self.qcow2('image.qcow2', self.content)
        subprocess.run(['qemu-io', '-f', 'qcow2', '-c', 'write -z 0 1M', path],
                       check=True, stdout=subprocess.DEVNULL, timeout=60)
        self.assertEqual({self.data[0], *self.data[256:]}, self._pages(path))

    def _refused(self, image):
        """Return why the data of an image is not given."""
        def read():
            for _chunk in estimate_disk.chunks(image, lambda _part: None):
                pass

        error = self.assertRaises(exception.ImageRefused, read)
        self.assertIn(image.path, str(error))
        return str(error)

    def test_entries_of_another_form(self):
        path = self.qcow2('image.qcow2', self.content, '-o', 'extended_l2=on')
        self.assertIn('extended L2', self._refused(
            source.Source(path, 'qcow2', len(self.content), (path,))))

    def test_wrong_tables(self):
        path = self.qcow2('image.qcow2', self.content)
        image = self.inspect(path, 64 * MIB)
        for place, form, value, why in (
                (40, '>Q', 1 << 63, 'no file has'),
                (40, '>Q', 1 << 40, 'cut short'), (36, '>I', 0, 'too short'),
                (20, '>I', 60, 'cluster size')):
            with open(path, 'r+b') as f:
                f.seek(place)
                f.write(struct.pack(form, value))
            self.assertIn(why, self._refused(image))

    def test_no_more_than_the_disk_has(self):
        path = self.qcow2('image.qcow2', self.content)
        whole = b''.join(self._chunks(path))
        half = source.Source(path, 'qcow2', MIB, (path,))
        self.assertEqual(whole[:MIB], b''.join(
            estimate_disk.chunks(half, lambda _part: None)))

    def test_damaged_clusters(self):
        for kind in ('zlib', 'zstd'):
            path = self.qcow2(f'{kind}.qcow2', self.content, '-c', '-o',
                              f'compression_type={kind}')
            image = self.inspect(path, 64 * MIB)
            with open(path, 'r+b') as f:
                # behind the header and the tables, a cluster each
                f.seek(5 << 16)
                f.write(b'\xff' * (1 << 16))
            self.assertIn('damaged', self._refused(image))

    def test_an_image_that_left(self):
        path = self.qcow2('image.qcow2', self.content)
        image = self.inspect(path, 64 * MIB)
        os.unlink(path)
        self.assertRaises(exception.BuildFailed, list,
                          estimate_disk.chunks(image, print))
