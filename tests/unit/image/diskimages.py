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

"""Has a folder in which to make disk images, and inspects them."""

import os
import subprocess

import fixtures
import testtools

from nova_flexmem import exception
from nova_flexmem.image import source
from nova_flexmem import process

MIB = 1 << 20

#: A file that opens well, and gives EIO as soon as it is read.
BAD_DISK = '/proc/self/mem'


class DiskImagesTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        if not process.available('qemu-img'):
            self.skipTest('qemu-img is not installed')
        self.useFixture(fixtures.FakeLogger())
        self.folder = self.useFixture(fixtures.TempDir()).path

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, content):
        with open(self.path(name), 'wb') as f:
            f.write(content)
        return self.path(name)

    def qemu_img(self, *words):
        subprocess.run(['qemu-img', *words], check=True, timeout=60)

    def qcow2(self, name, content=b'data' * 4096, *options):
        """Make a qcow2 image with some content."""
        raw = self.write('content.raw', content)
        self.qemu_img('convert', '-f', 'raw', '-O', 'qcow2', *options, raw,
                      self.path(name))
        return self.path(name)

    def overlay(self, name, below, below_format='qcow2', *more):
        """Make a qcow2 image that stands on another, which may be missing."""
        self.qemu_img('create', '-q', '-u', '-f', 'qcow2', '-F', below_format,
                      '-b', below, *more, self.path(name), '1M')
        return self.path(name)

    def inspect(self, path, limit=MIB, **how):
        return source.inspect(path, max_virtual_size_bytes=limit, **how)

    def assert_refused(self, path, cause, named=None, **how):
        e = self.assertRaises(exception.ImageRefused, self.inspect, path,
                              **how)
        self.assertTrue(str(e).startswith(f'{named or path}: '), str(e))
        self.assertIn(cause, str(e))
        self.assertNotIn('\n', str(e))
