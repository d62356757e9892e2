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
        with open(self._path('archive'), 'wb') as f:
            f.write(b'archive')
        handover.write_initramfs_file(self._path('file'), self.image,
                                      self._path('archive'))
        with open(self._path('file'), 'rb') as f:
            self.assertEqual(self.proper.ljust(8192, b'\0') + b'archive',
                             f.read())

    def test_setup_of_old_kernels(self):
        self.assertEqual(5 * 512, bzimage.setup_bytes(bytes(1024)))
