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

"""Samples the memory of a running guest, and compares it with an image.

Only pages that are in memory are read, through /proc/PID/mem (proc_pid_mem(5))
without stopping the process. Pages that KSM merged, and pages that are swapped
out, are not read. What is kept of a page is whether the image has it.
"""

import dataclasses
import math
import os
import random

from nova_flexmem.host import pages

#: Most that is read at once, if neighbouring pages are to be read.
_READ_PAGES = 256

#: Of the normal distribution, for 95 %.
_Z = 1.96


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % confidence interval; of pages, or bytes."""

    estimate: float
    low: float
    high: float

    def __mul__(self, factor):
        return Interval(self.estimate * factor, self.low * factor,
                        self.high * factor)


@dataclasses.dataclass(frozen=True)
class Sample:
    """What was read of a guest's memory.

    :ivar pages: of the guest's RAM that are in memory, of this process alone
    :ivar read: how many of them were read
    :ivar equal: how many of those the image has
    """

    pages: int
    read: int
    equal: int

    @property
    def equal_pages(self):
        """The Interval of how many of all pages the image has."""
        return proportion(self.equal, self.read, self.pages)


def proportion(hits, read, total):
    """Return the Interval of how many of all pages would be hits.

    Wilson's score interval, with the correction for a finite population. The
    pages are taken from equal parts of memory, so that the real error is a bit
    smaller.

    :param hits: hits in the sample
    :param read: size of the sample
    :param total: number of all pages
    """
    if read >= total:
        return Interval(hits, hits, hits)
    share = hits / read
    # the sample that would be as good in an infinite population
    size = read * (total - 1) / (total - read)
    square = _Z * _Z / size
    center = (share + square / 2) / (1 + square)
    half = _Z / (1 + square) * math.sqrt(
        share * (1 - share) / size + square / (4 * size))
    return Interval(share * total, max(0.0, center - half) * total,
                    min(1.0, center + half) * total)


def add(intervals):
    """Return the Interval of the sum of quantities sampled independently."""
    listed = list(intervals)
    estimate = sum(each.estimate for each in listed)
    return Interval(
        estimate,
        estimate - math.hypot(*(each.estimate - each.low for each in listed)),
        estimate + math.hypot(*(each.high - each.estimate for each in listed)))


def take(pid, areas, known, limit):
    """Read a sample of a guest's memory; return the Sample.

    :param pid: id of its QEMU process
    :param areas: the memory.Areas that are the guest's RAM
    :param known: the fingerprints of the image's pages, a set
    :param limit: the number of pages to read; if there are fewer, all are read
    :raises: ProcessLookupError or FileNotFoundError if the process has ended,
        PermissionError
    """
    with pages.Pagemap(pid) as pagemap:
        # without the ioctl: it does not tell merged pages from others
        runs = [(area.start // pages.PAGE_BYTES + first,
                 area.start // pages.PAGE_BYTES + end)
                for area in areas
                for first, end in pagemap.read_runs(area.start, area.end)]
    total = sum(end - first for first, end in runs)
    read = equal = 0
    fd = os.open(f'/proc/{pid}/mem', os.O_RDONLY)
    try:
        for first, count in _together(_numbers(runs, choose(total, limit))):
            content = _read(fd, pid, first, count)
            for start in range(0, len(content), pages.PAGE_BYTES):
                read += 1
                equal += fingerprint(
                    content[start:start + pages.PAGE_BYTES]) in known
    finally:
        os.close(fd)
    return Sample(total, read, equal)


def fingerprint(page):
    """Return 64 bits that stand for the content of a page.

    Python's hash of bytes is SipHash, with a key that each process chooses
    anew. So fingerprints mean nothing outside of this process.
    """
    return hash(page)


def choose(total, limit):
    """Yield the numbers of the pages to read: one of each of equal parts.

    :param total: how many there are
    :param limit: how many to yield at most
    """
    if limit >= total:
        yield from range(total)
        return
    for number in range(limit):
        first, end = (number * total // limit, (number + 1) * total // limit)
        yield first + int(random.random() * (end - first))


def _numbers(runs, chosen):
    """Yield the page numbers that have some positions within runs.

    :param runs: [(first, end)] of page numbers
    :param chosen: positions, ascending, counted over all runs
    """
    position = next(chosen, None)
    before = 0
    for first, end in runs:
        while position is not None and position < before + end - first:
            yield first + position - before
            position = next(chosen, None)
        before += end - first


def _together(numbers):
    """Yield neighbouring pages together: (first, count)."""
    first = count = 0
    for number in numbers:
        if count and number == first + count and count < _READ_PAGES:
            count += 1
            continue
        if count:
            yield first, count
        first, count = number, 1
    if count:
        yield first, count


def _read(fd, pid, first, count):
    """Return the content of pages of a process.

    :raises: ProcessLookupError if it has ended
    """
    size_bytes = count * pages.PAGE_BYTES
    content = os.pread(fd, size_bytes, first * pages.PAGE_BYTES)
    if len(content) < size_bytes:
        raise ProcessLookupError(f'process {pid} has no memory any more')
    return content
