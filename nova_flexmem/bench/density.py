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

from oslo_utils import units

from nova_flexmem.bench import environment
from nova_flexmem.bench import explain
from nova_flexmem.bench import pagetypes
from nova_flexmem.bench import results
from nova_flexmem.bench import seen as seen_module
from nova_flexmem.bench import workloads
from nova_flexmem.demo import guest
from nova_flexmem.demo import kinds
from nova_flexmem.demo import prediction
from nova_flexmem import exception
from nova_flexmem.host import accounting
from nova_flexmem.host import ksm
from nova_flexmem.host import memory

#: Guests hand free pages back a part every 2 s (mm/page_reporting.c), and
#: drop what they read of their disks a minute after their start (base/init).
_SETTLE_S = 60

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
    :ivar explain: whether pages are told apart as explain.KINDS has them
    """

    workload: str = 'idle'
    counts: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12, 16)
    ksm_counts: tuple[int, ...] = (3, 16)
    at_once: int = 1
    explain: bool = False
    guest: kinds.Options = kinds.Options()


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
        self._samples: list[seen_module.Sample] = []
        self._scans: list[seen_module.Scan] = []
        self._over_time: list[dict] = []
        self._boots: dict[str, list[float]] = {}

    def run(self):
        """Measure both kinds; returns what was seen, a seen.Seen."""
        for kind in kinds.KINDS:
            self._measure(kind)
        return seen_module.Seen(self._samples, self._scans, self._over_time,
                                self._boots)

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
        taken = accounting.measure(self._store)
        ours = [each for each in taken.instances if each.pid in pids]
        if len(ours) < len(guests):
            raise exception.BenchFailed(
                reason=f'{kind}: {len(guests) - len(ours)} guests ended')
        ksm_pages = ksm.counters().shared_bytes if way != 'off' else 0
        types, explained = self._look(guests) if with_types else ({}, {})
        estimated = {}
        if kind == 'stock' and way == 'off':
            estimated = prediction.of_guests(
                pids, self._ready.raw, self._options.guest.reporting_order,
                lambda stage: self._progress(f'{kind}: {stage}'))
        root_pmem = self._ready.image.boot.root_pmem
        self._samples.append(seen_module.Sample(
            kind, way, len(guests),
            ram=sum(each.ram_bytes for each in ours),
            qemu=sum(each.qemu_bytes + each.page_tables_bytes
                     for each in ours),
            translated=sum(map(memory.translated_bytes, pids)),
            ksm_pages=ksm_pages,
            base_mapped=memory.mapped_bytes(pids, root_pmem)
            if kind == 'flexmem' else 0,
            page_structs=sum(each.page_structs_bytes for each in ours),
            types=types, explained=explained,
            estimated=sum(estimated.values())
            if len(estimated) == len(guests) else None))

    def _look(self, guests):
        """Return the Parts of guests together, by type and by kind."""
        size = self._options.guest.ram_mib * units.Mi
        types, explained = [], []
        for each in guests:
            look = pagetypes.look(each, size, pagetypes.host_flags())
            types.append(pagetypes.parts(look))
            if self._options.explain:
                explained.append(explain.parts(each, look))
        return (pagetypes.total(types),
                pagetypes.total(explained) if explained else {})

    def _always(self, kind, guests):
        """Measure with KSM scanning all the time."""
        self._progress(f'{kind}: {len(guests)} guests; KSM scans until it'
                       ' finds no more')
        before_s, began = ksm.cpu_s(), time.monotonic()
        with ksm.always_on():
            self._converge(kind, len(guests), began, before_s)
            seconds, cpu_s = time.monotonic() - began, ksm.cpu_s() - before_s
            self._sample(kind, 'always', guests, with_types=True)
            self._progress(f'{kind}: {len(guests)} guests; watching KSM')
            watched_s, watched = ksm.cpu_s(), time.monotonic()
            time.sleep(_WATCH_S)
            rate = ((ksm.cpu_s() - watched_s)
                    / (time.monotonic() - watched) * 3600)
            self._progress(f'{kind}: unmerging')
        self._scans.append(seen_module.Scan(kind, 'always', len(guests),
                                            seconds, cpu_s, rate))

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
                        now.saved_bytes, units.Mi):
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
            done = ksm.scan_once(limit_s=_CONVERGE_LIMIT_S)
            self._sample(kind, 'once', guests, with_types=True)
        self._scans.append(seen_module.Scan(kind, 'once', len(guests),
                                            done.seconds, done.cpu_s, 0.0))


def run(store, image, options, work_folder, progress):
    """Run the benchmark.

    :param store: the store.Store that has the image's base
    :param image: the kinds.Image
    :param options: the Options
    :param work_folder: where to have temporary files
    :param progress: called with a text as each step begins
    :returns: results.Results
    :raises: BenchFailed, DemoFailed, ProgramFailed, HostUnfit,
        KsmUnusable
    """
    with kinds.prepare(image, options.guest, work_folder, progress) as ready:
        described = environment.describe(ready)
        seen = Density(store, ready, options, progress).run()
    return results.Results(
        'density', described, dataclasses.asdict(options),
        seen_module.figures(seen, options.ksm_counts),
        {'memory': [sample.row() for sample in seen.samples],
         'ksm': seen.over_time,
         'scans': [dataclasses.asdict(scan) for scan in seen.scans]})
