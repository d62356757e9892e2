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

"""The kernel image that x86 boots: Linux Documentation/arch/x86/boot.rst."""

import struct

#: The header, as far as it is read here.
_HEADER_BYTES = 0x238
_MAX_VERSION_BYTES = 256
_XLOADFLAGS_SINCE = 0x20c
_LOADED_HIGH = 1
_XLF_KERNEL_64 = 1


def setup_bytes(image):
    """Return the size of the setup code of a bzImage."""
    return ((image[0x1f1] or 4) + 1) * 512


def is_bzimage(content):
    """Return whether a file is a kernel that QEMU can start.

    QEMU ends where it can't: for a protocol that knows no initramfs, or a
    setup that is longer than the file.
    """
    if (content is None or len(content) < _HEADER_BYTES
            or content[0x202:0x206] != b'HdrS'):
        return False
    protocol, = struct.unpack_from('<H', content, 0x206)
    return bool(protocol >= _XLOADFLAGS_SINCE
                and len(content) > setup_bytes(content)
                and content[0x211] & _LOADED_HIGH
                and content[0x236] & _XLF_KERNEL_64)


def release(content):
    """Return the release that a kernel has, as uname -r says, '' if none.

    It begins a text to which kernel_version points, without the 512 bytes
    before the header.
    """
    if not is_bzimage(content):
        return ''
    offset, = struct.unpack_from('<H', content, 0x20e)
    text = content[offset + 0x200:offset + 0x200 + _MAX_VERSION_BYTES]
    words = text.partition(b'\0')[0].decode(errors='replace').split()
    return words[0] if offset and words else ''
