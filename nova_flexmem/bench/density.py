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

"""Host memory by number of VMs: stock and FlexMem, with and without KSM.

The guests of a kind are started one group after the other, and stay. KSM
starts where its figures are wanted, and all that it merged is unmerged again
before the next guests start, so that one set of guests serves both.
doc/source/benchmarks.rst tells what each figure means.
"""

import contextlib
import dataclasses
import time

from nova_flexmem.bench import environment
from nova_flexmem.bench import pagetypes
from nova_flexmem.bench import results
from nova_flexmem.bench import slope
from nova_flexmem.bench import workloads
from nova_flexmem.demo import guest
from nova_flexmem.demo import kinds
from nova_flexmem import exception
from nova_flexmem.host import accounting
from nova_flexmem.host import ksm
from nova_flexmem.host import memory

MIB = 1 << 20

#: Guests hand free pages back in steps of 2 s (mm/page_reporting.c).
_SETTLE_S = 15

#: What ksmtuned ends up with on a host that is short of memory.
_SCAN_PAGES, _SCAN_SLEEP_MS = 1250, 10

#: KSM has converged when so many whole scans bring less than this share;
#: smart scanning passes over some pages in some of them.
_CONVERGED_SHARE = 0.01
_CONVERGED_SCANS = 4
_CONVERGE_LIMIT_S = 900

#: How long it is watched after that, for what it goes on to cost.
_WATCH_S = 60

_POLL_S = 2


@dataclasses.dataclass(frozen=True)
class Options:
    """What the benchmark does.

    :ivar counts: numbers of guests at which memory is measured
    :ivar ksm_counts: those at which it is measured with KSM as well
    :ivar at_once: how many guests boot side by side
    """

    workload: str = 'idle'
    counts: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12, 16)
    ksm_counts: tuple[int, ...] = (3, 16)
    at_once: int = 1
    guest: kinds.Options = kinds.Options()


@dataclasses.dataclass
class Sample:
    """What all guests of a kind hold, taken at one time, in bytes.

    :ivar ksm: off, always (and converged), or once
    :ivar ram: private memory of guests' RAM
    :ivar qemu: QEMU's own, page tables included
    :ivar ksm_pages: what KSM keeps for all pages that it merged
    :ivar base_mapped: of the base, each page once; reclaimable
    :ivar page_structs: of ram, what guests keep for the device's pages
    :ivar types: of ram, {type: pagetypes.Part}; empty where not looked at
    """

    kind: str
    ksm: str
    guests: int
    ram: int
    qemu: int
    ksm_pages: int
    base_mapped: int
    page_structs: int
    types: dict[str, pagetypes.Part]

    @property
    def not_reclaimable(self):
        return self.ram + self.qemu + self.ksm_pages

    @property
    def page_cache(self):
        """Private memory that holds guests' page cache."""
        return self.types['page cache'].private_bytes

    def row(self):
        """Return it as a dict of numbers and texts."""
        row = {field.name: getattr(self, field.name)
               for field in dataclasses.fields(self) if field.name != 'types'}
        for name, part in self.types.items():
            row[f'{name}, private'] = part.private_bytes
            row[f'{name}, merged'] = part.merged_bytes
        return row


@dataclasses.dataclass(frozen=True)
class Scan:
    """What KSM took at one number of guests of a kind.

    :ivar way: always, or once
    :ivar seconds: to converge, or until the bounded scan ended
    :ivar cpu_s: of ksmd until then
    :ivar cpu_s_per_hour: of ksmd from then on
    """

    kind: str
    way: str
    guests: int
    seconds: float
    cpu_s: float
    cpu_s_per_hour: float


class Density:
    """One run of the benchmark.

    :param store: the store.Store that has the image's base
    :param ready: kinds.Kinds, to make guests with
    :param options: the Options
    :param progress: called with a text as each step begins
    """

    def __init__(self, store, ready, options, progress):
        self._store = store
        self._ready = ready
        self._options = options
        self._progress = progress
        self._samples: list[Sample] = []
        self._scans: list[Scan] = []
        self._over_time: list[dict] = []
        self._boots: dict[str, list[float]] = {}

    def run(self):
        """Measure both kinds; returns what was seen, a Seen."""
        for kind in kinds.KINDS:
            self._measure(kind)
        return Seen(self._samples, self._scans, self._over_time, self._boots)

    def _measure(self, kind):
        work = workloads.WORKLOADS[self._options.workload]
        with contextlib.ExitStack() as stack:
            guests: list[guest.Guest] = []
            for count in sorted(set(self._options.counts)
                                | set(self._options.ksm_counts)):
                while len(guests) < count:
                    group = self._start(stack, kind, min(
                        self._options.at_once, count - len(guests)),
                        len(guests))
                    for each in group:
                        work(each)
                    guests += group
                self._progress(f'{kind}: {count} guests; settling')
                time.sleep(_SETTLE_S)
                with_ksm = count in self._options.ksm_counts
                self._sample(kind, 'off', guests, with_types=with_ksm)
                if with_ksm:
                    self._always(kind, guests)
                    if kind == 'flexmem':
                        self._once(kind, guests)
            self._progress(f'{kind}: ending the guests')

    def _start(self, stack, kind, count, number):
        self._progress(f'{kind}: booting {number + 1} to {number + count}'
                       if count > 1 else f'{kind}: booting {number + 1}')
        group = [stack.enter_context(
            self._ready.guest(kind, f'{kind}-{number + each}'))
            for each in range(1, count + 1)]
        for each in group:
            each.wait_shell()
            self._boots.setdefault(kind, []).append(each.wait_multi_user())
        return group

    def _sample(self, kind, way, guests, *, with_types):
        pids = {each.pid for each in guests}
        taken = accounting.take(self._store)
        found = [each for each in taken.instances if each.pid in pids]
        if len(found) < len(guests):
            raise exception.BenchFailed(
                reason=f'{kind}: {len(guests) - len(found)} guests ended')
        ksm_pages = ksm.counters().shared_bytes
        types: dict[str, pagetypes.Part] = {}
        if with_types:
            size = self._options.guest.ram_mib * MIB
            parts = [pagetypes.of_guest(each, size, pagetypes.host_flags())
                     for each in guests]
            types = {name: pagetypes.Part(
                sum(part[name].private_bytes for part in parts),
                sum(part[name].merged_bytes for part in parts))
                for name in pagetypes.TYPES}
        root_pmem = self._ready.image.boot.root_pmem
        self._samples.append(Sample(
            kind, way, len(guests),
            ram=sum(each.ram_bytes for each in found),
            qemu=sum(each.qemu_bytes + each.page_tables_bytes
                     for each in found),
            ksm_pages=ksm_pages,
            base_mapped=memory.mapped_bytes(pids, root_pmem)
            if kind == 'flexmem' else 0,
            page_structs=sum(each.page_structs_bytes for each in found),
            types=types))

    def _always(self, kind, guests):
        """Measure with KSM scanning all the time."""
        self._progress(f'{kind}: {len(guests)} guests; KSM scans until it'
                       ' finds no more')
        before_s, began = ksm.cpu_s(), time.monotonic()
        with ksm.always_on(_SCAN_PAGES, _SCAN_SLEEP_MS):
            self._converge(kind, len(guests), began, before_s)
            seconds, cpu_s = time.monotonic() - began, ksm.cpu_s() - before_s
            self._sample(kind, 'always', guests, with_types=True)
            self._progress(f'{kind}: {len(guests)} guests; watching KSM')
            watched_s, watched = ksm.cpu_s(), time.monotonic()
            time.sleep(_WATCH_S)
            rate = ((ksm.cpu_s() - watched_s)
                    / (time.monotonic() - watched) * 3600)
            self._progress(f'{kind}: unmerging')
        self._scans.append(Scan(kind, 'always', len(guests), seconds, cpu_s,
                                rate))

    def _converge(self, kind, count, began, before_s):
        saved, scans = 0, ksm.counters().full_scans
        while True:
            time.sleep(_POLL_S)
            now = ksm.counters()
            seconds = time.monotonic() - began
            self._over_time.append({
                'kind': kind, 'guests': count, 'seconds': seconds,
                'saved': now.saved_bytes, 'cpu_s': ksm.cpu_s() - before_s,
                'private': self._anonymous()})
            if now.full_scans >= scans + _CONVERGED_SCANS:
                if now.saved_bytes - saved < _CONVERGED_SHARE * max(
                        now.saved_bytes, MIB):
                    return
                saved, scans = now.saved_bytes, now.full_scans
            if seconds > _CONVERGE_LIMIT_S:
                self._progress(f'{kind}: KSM did not converge within'
                               f' {_CONVERGE_LIMIT_S} s')
                return

    def _anonymous(self):
        return memory.fields(memory.read('', 'meminfo'))['AnonPages']

    def _once(self, kind, guests):
        """Measure after one bounded scan."""
        self._progress(f'{kind}: {len(guests)} guests; one bounded scan')
        with ksm.unmerged_at_end():
            done = ksm.scan_once(pages_to_scan=_SCAN_PAGES,
                                 sleep_ms=_SCAN_SLEEP_MS,
                                 limit_s=_CONVERGE_LIMIT_S)
            self._sample(kind, 'once', guests, with_types=True)
        self._scans.append(Scan(kind, 'once', len(guests), done.seconds,
                                done.cpu_s, 0.0))


@dataclasses.dataclass(frozen=True)
class Seen:
    """All that one run saw.

    :ivar over_time: while KSM converged
    :ivar boots: {kind: seconds from power-on to multi-user}
    """

    samples: list[Sample]
    scans: list[Scan]
    over_time: list[dict]
    boots: dict[str, list[float]]


def run(store, image, options, work_folder, progress):
    """Run the benchmark.

    :param store: the store.Store that has the image's base
    :param image: the kinds.Image
    :param options: the Options
    :param work_folder: where to have temporary files
    :param progress: called with a text as each step begins
    :returns: results.Results
    :raises: BenchFailed, DemoFailed, ProgramFailed, HostUnfit
    """
    with kinds.prepare(image, options.guest, work_folder, progress) as ready:
        described = environment.describe(ready.launcher.connection)
        seen = Density(store, ready, options, progress).run()
    return results.Results(
        'density', described, dataclasses.asdict(options),
        figures(seen, options),
        {'memory': [sample.row() for sample in seen.samples],
         'ksm': seen.over_time,
         'scans': [dataclasses.asdict(scan) for scan in seen.scans]})


def figures(seen, options):
    """Return the results.Figures of what was seen."""
    found = []
    for name, value in (
            ('guest RAM per further VM', lambda each: each.ram),
            ('guest RAM and QEMU\'s own per further VM',
             lambda each: each.ram + each.qemu)):
        fits = {kind: slope.fit([(each.guests, value(each) / MIB)
                                 for each in seen.samples
                                 if each.kind == kind and each.ksm == 'off'])
                for kind in kinds.KINDS} if len(options.counts) > 1 else {}
        found.append(results.Figure(f'{name} (slope)', 'MiB', {
            kind: [fit.value] for kind, fit in fits.items()}))
        found.append(results.Figure(f'{name} (standard error)', 'MiB', {
            kind: [fit.error] for kind, fit in fits.items()
            if fit.error is not None}))
    for count in options.ksm_counts:
        found += _at(seen, count)
    found.append(results.Figure('power-on to multi-user', 's', seen.boots))
    return found


def _at(seen, count):
    """Return the Figures for a number of guests with and without KSM."""
    samples = {_column(each.kind, each.ksm): each for each in seen.samples
               if each.guests == count and each.types}
    scans = {_column(each.kind, each.way): each for each in seen.scans
             if each.guests == count}

    def of_samples(name, value, chosen=samples):
        return results.Figure(f'{count} VMs: {name}', 'MiB', {
            column: [value(each) / MIB] for column, each in chosen.items()})

    def of_scans(name, unit, value):
        return results.Figure(f'{count} VMs: {name}', unit, {
            column: [value(each)] for column, each in scans.items()})

    by_type = [
        of_samples(f'guest {name}, private',
                   lambda each, name=name: each.types[name].private_bytes)
        for name in pagetypes.TYPES]
    duplicates = {each.kind: each for each in samples.values()
                  if each.ksm == 'always'}
    return [
        of_samples('not reclaimable', lambda each: each.not_reclaimable),
        *by_type,
        of_samples('of guest kernel: page structs of the device',
                   lambda each: each.page_structs),
        of_samples("QEMU's own", lambda each: each.qemu),
        of_samples('kept by KSM for what it merged',
                   lambda each: each.ksm_pages),
        of_samples('base mapped (reclaimable)',
                   lambda each: each.base_mapped),
        of_samples('guest page cache that KSM finds redundant',
                   lambda each: each.types['page cache'].merged_bytes,
                   duplicates),
        of_scans('KSM, until it finds no more, or ends', 's',
                 lambda each: each.seconds),
        of_scans("ksmd's processor time until then", 's',
                 lambda each: each.cpu_s),
        of_scans("ksmd's processor time in each hour after", 's',
                 lambda each: each.cpu_s_per_hour)]


def _column(kind, way):
    return kind + {'off': '', 'always': ' + KSM', 'once': ' + KSM once'}[way]
