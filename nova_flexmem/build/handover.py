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

"""A kernel that QEMU maps for all guests instead of copying it for each.

QEMU reads the file of ``-kernel`` into memory of its own, which it keeps for
as long as the guest runs (14 MiB with Debian 12); it maps that of ``-initrd``,
so that all guests share the host's page cache (hw/i386/x86.c, QEMU 5.1 and
later). So a base's kernel file has only the kernel's setup code, and in place
of the kernel proper a few instructions, to which the setup code hands over.
Its initramfs file has the kernel proper, and the initramfs behind it. The
instructions copy the kernel proper to where kernels are linked to run, tell it
where its initramfs is, and hand over to it.

QEMU would have it at 1 MiB instead. What lies there is free once it has moved
on, but stays with the guest for good: so small a zone (ZONE_DMA, up to 16 MiB)
has too few free pages to report any to the host (mm/page_reporting.c).

Offsets and states: Documentation/arch/x86/boot.rst, "32-bit boot protocol".
"""

import os

from nova_flexmem.image import bzimage
from nova_flexmem.store import basefiles

PAGE_BYTES = 4096

#: CONFIG_PHYSICAL_START of x86 kernels. They look for where they are, and
#: start from any address.
_START = 16 << 20

#: Each instruction as machine code and as GNU as has it; in both, {padded} is
#: how much of the initramfs file is the kernel's, {words} that in 4 bytes, and
#: {start} the address to copy to. QEMU loads what follows the setup code at
#: 0x100000, where it begins. %esi is the address of struct boot_params. There
#: is no stack.
CODE = (
    ('fc', 'cld'),
    ('89f2', 'movl %esi, %edx'),
    ('8b8618020000', 'movl 0x218(%esi), %eax'),  # ramdisk_image
    ('818618020000{padded}', 'addl ${padded}, 0x218(%esi)'),
    ('81ae1c020000{padded}', 'subl ${padded}, 0x21c(%esi)'),  # ramdisk_size
    ('89c6', 'movl %eax, %esi'),
    ('bf{start}', 'movl ${start}, %edi'),
    ('b9{words}', 'movl ${words}, %ecx'),
    ('f3a5', 'rep movsl'),
    ('89d6', 'movl %edx, %esi'),
    ('31ff', 'xorl %edi, %edi'),
    ('b8{start}', 'movl ${start}, %eax'),
    ('ffe0', 'jmp *%eax'))

#: What stands before {padded} in the code of every version.
_ADD_PADDED = bytes.fromhex('818618020000')


def kernel_file(image):
    """Return the content of a base's kernel file.

    :param image: a bzImage that kernel.find() took
    """
    size = bzimage.setup_bytes(image)
    padded = _padded(len(image) - size)
    values = {name: value.to_bytes(4, 'little').hex() for name, value in
              (('padded', padded), ('words', padded // 4), ('start', _START))}
    return image[:size] + bytes.fromhex(''.join(
        code.format(**values) for code, _text in CODE))


def write(folder, image, archive):
    """Write the files kernel and initramfs of a base.

    :param image: a bzImage that kernel.find() took
    :param archive: the initramfs
    """
    proper = image[bzimage.setup_bytes(image):]
    with open(os.path.join(folder, basefiles.KERNEL), 'xb') as f:
        f.write(kernel_file(image))
    with open(os.path.join(folder, basefiles.INITRAMFS), 'xb') as f:
        f.write(proper.ljust(_padded(len(proper)), b'\0'))
        f.write(archive)


def unpack(kernel, initramfs):
    """Return what write() was given, from the content of its files.

    :returns: (the bzImage, padded with zeros; the initramfs)
    :raises: ValueError if write() did not make them
    """
    size = bzimage.setup_bytes(kernel) if len(kernel) > 512 else len(kernel)
    _before, mark, code = kernel[size:].partition(_ADD_PADDED)
    padded = int.from_bytes(code[:4], 'little')
    if not mark or not 0 < padded < len(initramfs):
        raise ValueError('the kernel file is not one of a base')
    return kernel[:size] + initramfs[:padded], initramfs[padded:]


def version():
    """Return a text that is another one where write() writes other code."""
    return repr((CODE, _START, PAGE_BYTES))


def _padded(size_bytes):
    # the kernel expects an initramfs at the begin of a page
    return -(-size_bytes // PAGE_BYTES) * PAGE_BYTES
