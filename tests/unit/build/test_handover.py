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
import shutil
import subprocess

import fixtures
import testtools

from nova_flexmem.build import handover
from nova_flexmem.image import bzimage


class HandoverTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        setup = bytearray(b's' * 3 * 512)
        setup[0x1f1] = 2  # setup_sects
        self.setup = bytes(setup)
        self.proper = b'proper' * 1000
        self.image = self.setup + self.proper

    def _path(self, name):
        return os.path.join(self.folder, name)

    def test_machine_code(self):
        if not shutil.which('as'):
            self.skipTest('needs as and objcopy, of package binutils')
        # {padded} of 6000 bytes is 8192
        source = ''.join(
            text.format(padded=8192, words=2048, start=16 << 20) + '\n'
            for _code, text in handover.CODE)
        subprocess.run(['as', '--32', '-o', self._path('o'), '-'], check=True,
                       input=f'.code32\n{source}', text=True)
        subprocess.run(['objcopy', '-O', 'binary', self._path('o'),
                        self._path('bin')], check=True)
        with open(self._path('bin'), 'rb') as f:
            assembled = f.read()
        self.assertEqual(assembled.hex(), handover.kernel_file(
            self.image).removeprefix(self.setup).hex())

    def test_kernel_file(self):
        content = handover.kernel_file(self.image)
        self.assertTrue(content.startswith(self.setup))
        self.assertLess(len(content), len(self.setup) + 512)

    def test_initramfs_file(self):
        handover.write(self.folder, self.image, b'archive')
        with open(self._path('initramfs'), 'rb') as f:
            self.assertEqual(self.proper.ljust(8192, b'\0') + b'archive',
                             f.read())

    def test_unpacked_and_written_again(self):
        handover.write(self.folder, self.image, b'archive')
        contents = []
        for name in ('kernel', 'initramfs'):
            with open(self._path(name), 'rb') as f:
                contents.append(f.read())
        image, archive = handover.unpack(*contents)
        self.assertEqual(self.setup + self.proper.ljust(8192, b'\0'), image)
        self.assertEqual(b'archive', archive)
        again = self._path('again')
        os.mkdir(again)
        handover.write(again, image, archive)
        for name, content in zip(('kernel', 'initramfs'), contents):
            with open(os.path.join(again, name), 'rb') as f:
                self.assertEqual(content, f.read())

    def test_what_cannot_be_unpacked(self):
        kernel = handover.kernel_file(self.image)
        for pair in ((kernel, bytes(8192)), (kernel, b''),
                     (self.image, bytes(9000)), (bytes(1024), bytes(9000)),
                     (kernel[:-40], bytes(9000))):
            self.assertRaises(ValueError, handover.unpack, *pair)

    def test_setup_of_old_kernels(self):
        self.assertEqual(5 * 512, bzimage.setup_bytes(bytes(1024)))
