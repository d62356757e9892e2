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

"""The demonstration: stock guests, then FlexMem guests, on this host.

All guests of a kind run at the same time, started one after the other, so
that none disturbs another's boot; the two kinds do not run together.
"""

import contextlib
import dataclasses
import time

from oslo_utils import units

from nova_flexmem.demo import figures
from nova_flexmem.demo import kinds
from nova_flexmem.demo import prediction
from nova_flexmem.demo import workload
from nova_flexmem import exception
from nova_flexmem.host import memory

#: Long enough for guests with free page reporting to hand pages back (the
#: kernel does so every 2 s, mm/page_reporting.c) and for boots to calm down.
_SETTLE_S = 15


@dataclasses.dataclass(frozen=True)
class Options:
    """What the demo does."""

    guests: int = 3
    read_bytes: int = 100 * units.Mi
    guest: kinds.Options = kinds.Options()


def run(image, options, work_folder, progress):
    """Measure stock guests and FlexMem guests of one image.

    :param image: the image, a kinds.Image
    :param options: the Options
    :param work_folder: where to have temporary files
    :param progress: called with a text as each step begins
    :returns: KindFigures of the stock guests, and of the FlexMem guests
    :raises: DemoFailed, ProgramFailed
    """
    with kinds.prepare(image, options.guest, work_folder, progress) as ready:
        measured = [
            _measure(kind, ready, pmem, options, progress)
            for kind, pmem in (('stock', None),
                               ('flexmem', image.boot.root_pmem))]
    if len({guest.reading.digest for kind in measured
            for guest in kind.guests}) > 1:
        raise exception.DemoFailed(
            reason='the guests did not all read the same files with the same'
            ' content, so their figures cannot be compared')
    return measured


def _measure(kind, ready, root_pmem, options, progress):
    """Run all guests of a kind; returns their KindFigures."""
    seen = []
    available = memory.host_available_bytes()
    with contextlib.ExitStack() as stack:
        for number in range(1, options.guests + 1):
            name = f'{kind}-{number}'
            progress(f'{name}: booting')
            guest = stack.enter_context(ready.guest(kind, name))
            guest.wait_shell()
            multi_user_s = guest.wait_multi_user()
            progress(f'{name}: reading files (the boot took'
                     f' {multi_user_s:.1f} s)')
            before = workload.page_cache(guest.meminfo())
            workload.choose_files(guest, options.read_bytes)
            reading = workload.read_files(guest)
            after = workload.page_cache(guest.meminfo())
            seen.append((guest, multi_user_s, before, after, reading))
        progress(f'{kind}: settling, then measuring')
        time.sleep(_SETTLE_S)
        pids = [guest.pid for guest, *_ in seen]
        estimated = {} if root_pmem else prediction.of_guests(
            pids, ready.raw, options.guest.reporting_order, progress)
        result = figures.KindFigures(
            guests=[figures.GuestFigures(
                multi_user_s, before, after, reading,
                memory.of_process(guest.pid, options.guest.ram_mib * units.Mi),
                estimated.get(guest.pid))
                for guest, multi_user_s, before, after, reading in seen],
            shared_bytes=[
                memory.mapped_bytes(pids[:number], root_pmem)
                if root_pmem else 0 for number in range(1, len(pids) + 1)],
            available_lost_bytes=available - memory.host_available_bytes())
        progress(f'{kind}: powering off')
        for guest, *_ in seen:
            guest.power_off()
    return result
