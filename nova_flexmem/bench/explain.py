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

"""What the pages of a guest's RAM are for, kind by kind.

Finer than pagetypes: the guest's kernel also tells where its own image lies
(/proc/iomem), and which pages are slab, page tables or reserved at boot. It
does not tell what the other pages of the kernel are for: modules and other
areas of vmalloc, the page structs of the FlexMem device, per-CPU memory,
stacks.
"""

import re

import numpy

from nova_flexmem.bench import pagetypes
from nova_flexmem import exception
from nova_flexmem.host import pages

KINDS = ('kernel code', 'kernel read-only data', 'kernel data', 'kernel bss',
         'reserved at boot', 'slab', 'page tables', 'other kernel pages',
         'page cache', 'tmpfs', 'anonymous', 'free')
(_CODE, _RODATA, _DATA, _BSS, _RESERVED, _SLAB, _TABLES, _OTHER, _CACHE,
 _TMPFS, _ANONYMOUS, _FREE) = range(len(KINDS))

#: Bits of kpageflags.
_LRU_BIT, _SLAB_BIT, _BUDDY_BIT, _ANON_BIT, _SWAPBACKED_BIT = 5, 7, 10, 12, 14
_TABLES_BIT, _RESERVED_BIT = 26, 32

#: From what is weaker to what overrules it.
_BY_BIT = ((_RESERVED_BIT, _RESERVED), (_SLAB_BIT, _SLAB),
           (_TABLES_BIT, _TABLES), (_LRU_BIT, _CACHE),
           (_SWAPBACKED_BIT, _TMPFS), (_ANON_BIT, _ANONYMOUS),
           (_BUDDY_BIT, _FREE))

#: What /proc/iomem calls the parts of the kernel's image.
_PARTS = {'code': _CODE, 'rodata': _RODATA, 'data': _DATA, 'bss': _BSS}
_PART = re.compile(r'^\s*([0-9a-f]+)-([0-9a-f]+) : Kernel (\w+)$',
                   re.MULTILINE)


def parts(guest, look):
    """Return the pagetypes.Parts of a guest's RAM, {kind: Part}, all KINDS.

    :param guest: the demo.guest.Guest, to ask where its kernel is
    :param look: the pagetypes.Look at it
    :raises: BenchFailed if its kernel does not tell
    """
    kinds = kinds_of(look.flags, kernel_ranges(guest.output(
        'cat /proc/iomem')))
    return {name: look.part(kinds == number)
            for number, name in enumerate(KINDS)}


def kernel_ranges(iomem):
    """Return where the kernel's image lies, [(first page, end, kind)].

    :param iomem: the text of /proc/iomem
    :raises: BenchFailed
    """
    found = [(int(first, 16) // pages.PAGE_BYTES,
              int(last, 16) // pages.PAGE_BYTES + 1, _PARTS[part])
             for first, last, part in _PART.findall(iomem) if part in _PARTS]
    if not any(end > 1 for _first, end, _kind in found):
        raise exception.BenchFailed(
            reason='the guest does not tell where its kernel is'
            ' (/proc/iomem)')
    return found


def kinds_of(flags, ranges):
    """Return numbers of KINDS, one for each page frame.

    The parts of a compound page are of the kind of its head. Pages of the
    kernel's image that it has given away since are what they are now.

    :param flags: of the guest's page frames
    :param ranges: what kernel_ranges() returned
    """
    of_head = flags[pagetypes.heads(flags)]
    kinds = numpy.full(len(flags), _OTHER)
    for bit, kind in _BY_BIT:
        kinds[(of_head & (1 << bit)) != 0] = kind
    for first, end, kind in ranges:
        part = kinds[first:end]
        part[(part == _OTHER) | (part == _RESERVED)] = kind
    return kinds
