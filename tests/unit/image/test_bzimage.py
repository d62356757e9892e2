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

import struct

import testtools

from nova_flexmem.image import bzimage


def make(setup_sectors=4, protocol=0x20f, loaded_high=1, kernel_64=1,
         size_bytes=4096):
    """Return a bzImage, as far as its header goes."""
    content = bytearray(size_bytes)
    content[0x1f1] = setup_sectors
    content[0x202:0x206] = b'HdrS'
    struct.pack_into('<H', content, 0x206, protocol)
    content[0x211] = loaded_high
    struct.pack_into('<H', content, 0x236, kernel_64)
    return bytes(content)


class BzImageTest(testtools.TestCase):

    def test_kernel(self):
        for content in (make(), make(protocol=0x20c), make(loaded_high=0x81),
                        make(kernel_64=0x7f)):
            self.assertTrue(bzimage.is_bzimage(content))

    def test_none(self):
        for content in (None, b'', b'MZ', bytes(4096), make()[:0x237],
                        b'\x7fELF' + bytes(4096)):
            self.assertFalse(bzimage.is_bzimage(content))

    def test_kernels_that_end_qemu(self):
        for content in (make(kernel_64=0), make(loaded_high=0),
                        make(protocol=0x20b), make(setup_sectors=7),
                        make(setup_sectors=255)):
            self.assertFalse(bzimage.is_bzimage(content))

    def test_setup(self):
        """The boot sector counts too; 0 sectors stand for 4."""
        for sectors, size_bytes in ((0, 2560), (1, 1024), (4, 2560),
                                    (255, 131072)):
            self.assertEqual(size_bytes, bzimage.setup_bytes(
                make(setup_sectors=sectors)))

    def test_setup_up_to_the_last_byte(self):
        self.assertFalse(bzimage.is_bzimage(make(size_bytes=2560)))
        self.assertTrue(bzimage.is_bzimage(make(size_bytes=2561)))
