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

"""The demo's table: stock and FlexMem guests side by side."""

import statistics

from oslo_utils import units

COLUMNS = ('Figure', 'Unit', 'Stock', 'Stock range', 'FlexMem',
           'FlexMem range', 'FlexMem/stock')

#: A FlexMem guest's page cache may hold file content of this part of what it
#: read; it has pages of the files that it wrote itself as well.
LIMIT = 0.05

_PER_GUEST = (
    ('guest page cache before reading: files', 'MiB',
     lambda guest: guest.page_cache_before.files_bytes / units.Mi),
    ('guest page cache after reading: files', 'MiB',
     lambda guest: guest.page_cache_after.files_bytes / units.Mi),
    ('guest page cache before reading: metadata', 'MiB',
     lambda guest: guest.page_cache_before.metadata_bytes / units.Mi),
    ('guest page cache after reading: metadata', 'MiB',
     lambda guest: guest.page_cache_after.metadata_bytes / units.Mi),
    ('private host memory per VM: guest RAM', 'MiB',
     lambda guest: guest.usage.ram_bytes / units.Mi),
    ("private host memory per VM: QEMU's own", 'MiB',
     lambda guest: guest.qemu_bytes / units.Mi),
    ('private host memory per VM', 'MiB',
     lambda guest: guest.usage.private_bytes / units.Mi),
    ('swapped out per VM', 'MiB',
     lambda guest: guest.usage.swap_bytes / units.Mi),
    ('power-on to multi-user', 's',
     lambda guest: guest.multi_user_s),
    ('reading', 's',
     lambda guest: guest.reading.seconds))

_PER_KIND = (
    ('shared host memory, once: base', 'MiB',
     lambda kind: kind.shared_bytes[-1] / units.Mi),
    ('marginal memory per further VM', 'MiB',
     lambda kind: kind.marginal_bytes / units.Mi),
    ('host MemAvailable lost per VM', 'MiB',
     lambda kind: kind.available_lost_bytes / len(kind.guests) / units.Mi))


def rows(stock, flexmem):
    """Return the table's rows: medians, ranges over the guests, ratios.

    :param stock: KindFigures of the stock guests
    :param flexmem: KindFigures of the FlexMem guests
    """
    table = []
    for name, unit, figure in _PER_GUEST:
        table.append(row(name, unit, *([figure(guest) for guest in
                                        kind.guests]
                                       for kind in (stock, flexmem))))
    for name, unit, figure in _PER_KIND:
        table.append(row(name, unit, [figure(stock)], [figure(flexmem)]))
    return table


def failures(flexmem):
    """Return sentences on FlexMem guests that hold files of their image."""
    return [
        f'the page cache of FlexMem guest {number} holds'
        f' {guest.page_cache_after.files_bytes / units.Mi:.1f} MiB of files'
        f' after it read {guest.reading.size_bytes / units.Mi:.1f} MiB of its'
        f' image; at most {LIMIT:.0%} of that is right'
        for number, guest in enumerate(flexmem.guests, 1)
        if guest.page_cache_after.files_bytes
        > LIMIT * guest.reading.size_bytes]


def gain(stock, flexmem):
    """Return in a sentence or two what FlexMem gained."""
    before, after = stock.marginal_bytes, flexmem.marginal_bytes
    each = (f'{after / units.Mi:.0f} MiB of host memory with FlexMem,'
            f' {before / units.Mi:.0f} MiB without')
    if after >= before:
        return ('FlexMem saves no memory with this image: each further VM'
                f' takes {each}.')
    count = _saves_from(stock, flexmem)
    return (f'FlexMem saves {1 - after / before:.0%} of the memory of each'
            f' further VM of this image ({each}). The base is in memory once;'
            f' it is paid for from {count} VM{"s" * (count > 1)} on.')


def prediction(stock, flexmem):
    """Return in a sentence how good the estimate was, or '' without one."""
    estimated = [guest.estimated_bytes for guest in stock.guests
                 if guest.estimated_bytes is not None]
    if not estimated:
        return ''
    before = statistics.median(estimated) / units.Mi
    after = statistics.median(guest.usage.ram_bytes
                              for guest in flexmem.guests) / units.Mi
    return ('"nova-flexmem host estimate" predicted from the stock VMs'
            f' {before:.0f} MiB of RAM for each FlexMem VM;'
            f' {after:.0f} MiB were then measured ('
            f'{before / after - 1:+.0%}).')


def _saves_from(stock, flexmem):
    """Return the number of guests from which FlexMem takes less in all.

    Each further guest takes as much as the measured ones do.
    """
    base_bytes, before, after = (
        flexmem.shared_bytes[0], stock.guests[0].usage.private_bytes,
        flexmem.guests[0].usage.private_bytes)
    surplus = base_bytes + after - before
    saved = stock.marginal_bytes - flexmem.marginal_bytes
    return 1 if surplus < 0 else 2 + int(surplus // saved)


def row(name, unit, stock, flexmem):
    """Return a row of the table: medians, ranges, and the medians' ratio.

    :param stock: the values of the stock guests, a list
    :param flexmem: the values of the FlexMem guests, a list
    """
    before, after = statistics.median(stock), statistics.median(flexmem)
    return (name, unit, round(before, 1), _range(stock), round(after, 1),
            _range(flexmem), round(after / before, 2) if before else None)


def _range(values):
    if len(values) == 1:
        return ''
    return f'{min(values):.1f}..{max(values):.1f}'
