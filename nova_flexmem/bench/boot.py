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

"""How long guests take to boot beside others, phase by phase.

doc/source/benchmarks.rst tells what each figure means.
"""

import contextlib
import dataclasses
import itertools

from oslo_utils import units

from nova_flexmem.bench import bootphases
from nova_flexmem.bench import direct as direct_module
from nova_flexmem.bench import environment
from nova_flexmem.bench import hostcache
from nova_flexmem.bench import results
from nova_flexmem.demo import kinds
from nova_flexmem import exception
from nova_flexmem.host import pages

KINDS = ('stock', 'direct', 'flexmem')

#: Whether the host has what a guest starts from in its page cache.
CACHES = tuple(hostcache.CACHES)

#: What is no result but says what a start found.
_CACHED = 'cached_mib'

#: Figures of a start: (name, unit, value in the row of the start).
_FIGURES = (('power-on to multi-user', 's', 'total'),
            ('firmware and boot loader', 's', 'firmware'),
            ('kernel', 's', 'kernel'),
            ('initramfs', 's', 'initramfs'),
            ('userspace', 's', 'userspace'),
            ('of the image in host cache before', 'MiB', _CACHED))


@dataclasses.dataclass(frozen=True)
class Options:
    """What the benchmark does.

    :ivar neighbours: numbers of running guests beside which one boots
    :ivar starts: how many times, with either host cache
    """

    neighbours: tuple[int, ...] = (1, 4, 8)
    starts: int = 3
    guest: kinds.Options = kinds.Options()


class Boot:
    """One run of the benchmark.

    :param ready: kinds.Kinds, to make guests with
    :param direct: the direct.Direct, None if there is none of the image
    :param options: the Options
    :param progress: called with a text as each step begins
    """

    def __init__(self, ready, direct, options, progress):
        self._ready = ready
        self._direct = direct
        self._options = options
        self._progress = progress
        self._rows: list[dict] = []

    def run(self):
        """Measure all kinds; returns a row, a dict, for each start.

        The kinds take turns, so that a host that becomes slower or faster
        meanwhile does so for all.
        """
        with contextlib.ExitStack() as stack:
            neighbours: dict[str, list] = {
                kind: [] for kind in KINDS if kind != 'direct' or self._direct}
            for count in sorted(set(self._options.neighbours)):
                for kind, running in neighbours.items():
                    while len(running) < count:
                        running.append(stack.enter_context(
                            self._neighbour(kind, len(running) + 1)))
                for cache, number, kind in itertools.product(
                        CACHES, range(1, self._options.starts + 1),
                        neighbours):
                    self._progress(f'{kind}: {count} neighbours, {cache}'
                                   f' cache, start {number}')
                    with _resumed(neighbours[kind]):
                        self._start(kind, count, cache, number)
            self._progress('ending the guests')
        return self._rows

    @contextlib.contextmanager
    def _neighbour(self, kind, number):
        """Give a guest that has booted, and is suspended."""
        self._progress(f'{kind}: booting neighbour {number}')
        with self._guest(kind, f'{kind}-neighbour-{number}') as neighbour:
            neighbour.wait_shell()
            neighbour.wait_multi_user()
            neighbour.suspend()
            yield neighbour

    def _start(self, kind, count, cache, number):
        guest = self._guest(kind, f'{kind}-{count}-{cache}-{number}')
        files = self._files(kind)
        for path in files:
            hostcache.CACHES[cache](path)
        cached_bytes = sum(map(pages.resident_bytes, files))
        with guest:
            guest.wait_shell()
            total_s = guest.wait_multi_user()
            phases = bootphases.parse(guest.output(bootphases.SCRIPT),
                                      total_s)
        self._rows.append({'kind': kind, 'neighbours': count, 'cache': cache,
                           'total': total_s, **dataclasses.asdict(phases),
                           _CACHED: cached_bytes / units.Mi})

    def _guest(self, kind, name):
        if kind != 'direct':
            return self._ready.guest(kind, name)
        guest = self._ready.guest('stock', name)
        guest.xml = self._direct.transform(guest.xml)
        return guest

    def _files(self, kind):
        """Return the files that guests of a kind start from."""
        if kind == 'flexmem':
            return self._ready.image.boot.files
        if kind == 'direct':
            return self._ready.raw, self._direct.kernel, self._direct.initrd
        return (self._ready.raw,)


@contextlib.contextmanager
def _resumed(guests):
    """Let suspended guests run in the context."""
    for each in guests:
        each.resume()
    yield
    for each in guests:
        each.suspend()


def figures(rows):
    """Return the figures for each number of neighbours and each cache.

    :param rows: what Boot.run() returned
    """
    figures = []
    for count, cache in sorted({(row['neighbours'], row['cache'])
                                for row in rows}):
        for name, unit, value in _FIGURES:
            samples: dict[str, list[float]] = {}
            for row in rows:
                if (row['neighbours'], row['cache']) == (count, cache):
                    samples.setdefault(row['kind'], []).append(row[value])
            figures.append(results.Figure(
                f'{name}, {cache} cache, {count} neighbours', unit, samples,
                compared=value != _CACHED))
    return figures


def run(store, image, options, work_folder, progress):
    """Run the benchmark.

    :param store: the store.Store that has the image's base
    :param image: the kinds.Image
    :param options: the Options
    :param work_folder: where to have temporary files
    :param progress: called with a text as each step begins
    :returns: results.Results
    :raises: BenchFailed, DemoFailed, ProgramFailed
    """
    with kinds.prepare(image, options.guest, work_folder, progress) as ready:
        described = environment.describe(ready)
        progress('taking the kernel out of the image')
        try:
            direct = direct_module.take(store, ready.raw, image.path,
                                        ready.folder)
        except exception.BenchFailed as e:
            progress(f'no direct guests: {e}')
            direct = None
        rows = Boot(ready, direct, options, progress).run()
    return results.Results('boot', described, dataclasses.asdict(options),
                           figures(rows), {'starts': rows})
