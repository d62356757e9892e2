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

"""The kernel command line of a FlexMem guest."""

import posixpath
import re

from nova_flexmem.guest import lean

#: COMMAND_LINE_SIZE of x86 is 2048 with the final zero byte
#: (arch/x86/include/asm/setup.h); the kernel cuts off the rest in silence.
MAX_BYTES = 2047

#: Folders that need no quoting, neither here nor in /init.
_FOLDER = re.compile(r'(/[A-Za-z0-9._+@:=%-]+)+')


#: Linux has per-CPU memory in chunks as large as the first one. By default
#: that fills a large page: 2 MiB for one processor, 1 MiB for each of two.
#: For 4 bytes of each further chunk Linux keeps 8 more, for memcg's accounting
#: (mm/percpu.c). Made of small pages, the first chunk is no larger than need
#: be. With more processors there is little to gain.
_SMALL_CHUNKS = 'percpu_alloc=page'
_FEW_VCPUS = 2

#: Kernels of distributions test each cipher as it comes, which emulation makes
#: slow. With fips=1 the kernel tests all the same (crypto/testmgr.c).
_NO_CRYPTO_TESTS = 'cryptomgr.notests'


def build(boot, writes, direct_paths, reporting_order, extra_kernel_args,
          bounce_buffers=False, kernel='base', vcpus=None, without=(),
          emulated=False):
    """Return the kernel command line.

    :param boot: a domain.Boot
    :param writes: the writes policy
    :param direct_paths: folders that lie directly on the delta
    :param reporting_order: the guest returns free memory in blocks of at least
        2**reporting_order pages; None: it returns none
    :param extra_kernel_args: arguments appended to all others, text
    :param bounce_buffers: False for a guest whose RAM is all below 4 GiB
    :param kernel: 'own' for a guest that may start a kernel installed in it,
        else 'base'
    :param vcpus: how many processors it can have at most; None: many
    :param without: parts of lean.PARTS that the guest does without
    :param emulated: whether the guest runs without KVM
    :returns: text of at most MAX_BYTES bytes
    :raises: ValueError saying which part is wrong
    """
    words = [*_defaults(vcpus, emulated), boot.kernel_args,
             f'flexmem.base={boot.base_uuid}', f'flexmem.layout={boot.layout}',
             f'flexmem.rootfs={boot.rootfs}', f'flexmem.writes={writes}']
    for path in direct_paths:
        if not _FOLDER.fullmatch(path) or posixpath.normpath(path) != path:
            raise ValueError(
                f'{path!r} cannot lie directly on the delta; give absolute'
                ' paths without "..", spaces, commas or quotes')
    if direct_paths:
        words.append('flexmem.direct=' + ','.join(direct_paths))
    if kernel == 'own' and writes == 'disk':
        words.append('flexmem.kernel=own')
    if reporting_order is not None:
        words.append(f'flexmem.reporting_order={reporting_order}')
    if not bounce_buffers:
        # the FlexMem device above 4 GiB makes guests reserve 64 MiB of RAM
        # for swiotlb. Only RAM up there needs it: devices with 32-bit DMA,
        # such as IDE, do not reach it
        words.append('swiotlb=noforce')
    words += lean.kernel_args(without, boot.kernel_release)
    words.append(extra_kernel_args)
    line = ' '.join(word for word in words if word)
    if not line.isprintable():
        raise ValueError('its kernel command line has control characters in'
                         ' it; correct the boot loader configuration of the'
                         ' image, or [flexmem] extra_kernel_args')
    if len(line.encode()) > MAX_BYTES:
        raise ValueError(
            f'its kernel command line has {len(line.encode())} bytes, but x86'
            f' takes {MAX_BYTES}; shorten the command line of the image,'
            ' [flexmem] direct_paths or [flexmem] extra_kernel_args')
    return line


def _defaults(vcpus, emulated):
    """Return arguments that stand before the image's own, which so win."""
    if vcpus is not None and vcpus <= _FEW_VCPUS:
        yield _SMALL_CHUNKS
    if emulated:
        yield _NO_CRYPTO_TESTS
