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

"""How many VMs fit into a given amount of memory.

One guest after the other starts in a control group with a limit, and does its
workload, until one is killed for want of memory, or makes no progress. What
fits is the number before.
"""

import contextlib
import dataclasses
import time

from oslo_utils import units

from nova_flexmem.bench import cgroup
from nova_flexmem.bench import environment
from nova_flexmem.bench import hostcache
from nova_flexmem.bench import results
from nova_flexmem.bench import workloads
from nova_flexmem.demo import kinds
from nova_flexmem import exception
from nova_flexmem.host import ksm
from nova_flexmem.host import memory

_WITH_KSM = 'stock + KSM'

#: With KSM: time for it to find what the newest guest has, before the next.
_KSM_S = 30

#: A guest that takes so many times longer than the first one makes no
#: progress: it waits for pages that are thrown out again at once.
_PATIENCE = 6


@dataclasses.dataclass(frozen=True)
class Options:
    """What the benchmark does.

    :ivar size_bytes: the limit
    :ivar most: where to stop
    :ivar with_ksm: whether stock guests are tried with KSM as well
    """

    size_bytes: int = 3 << 30
    most: int = 32
    workload: str = 'idle'
    with_ksm: bool = True
    guest: kinds.Options = kinds.Options()


def run(image, options, work_folder, progress):
    """Run the benchmark.

    :param image: the kinds.Image
    :param options: the Options
    :param work_folder: where to have temporary files
    :param progress: called with a text as each step begins
    :returns: results.Results
    :raises: BenchFailed, DemoFailed, ProgramFailed
    """
    with kinds.prepare(image, options.guest, work_folder, progress) as ready:
        described = environment.describe(ready)
        tried = {'stock': _fit(ready, 'stock', 'stock', options, progress)}
        if tried['stock'][0] is None:
            raise exception.BenchFailed(
                reason=f'stock guests: {tried["stock"][1]}')
        if options.with_ksm:
            with ksm.always_on():
                tried[_WITH_KSM] = _fit(ready, 'stock', _WITH_KSM, options,
                                        progress, _KSM_S)
        tried['flexmem'] = _fit(ready, 'flexmem', 'flexmem', options,
                                progress)
    return results.Results(
        'fit', {**described, **{f'why no more, {kind}': why
                                for kind, (_count, why) in tried.items()}},
        dataclasses.asdict(options),
        [results.Figure(f'VMs in {options.size_bytes / units.Gi:g} GiB', '',
                        {kind: [count]
                         for kind, (count, _why) in tried.items()
                         if count is not None})])


def _fit(ready, kind, label, options, progress, wait_s=0):
    """Return how many guests of a kind fit, and why no more do.

    The number is None if the first guest fails for another reason.

    :param label: what this is called; another for each call
    """
    # so that the group is charged for the base
    for path in ready.image.boot.files:
        hostcache.drop(path)
    work = workloads.WORKLOADS[options.workload]
    with cgroup.Cgroup(options.size_bytes) as group, \
            contextlib.ExitStack() as stack:
        patience_s = 600.0
        for count in range(options.most):
            progress(f'{label}: starting {count + 1} within the limit')
            began = time.monotonic()
            guest = ready.guest(
                kind, f'{label.replace(" ", "")}-{count + 1}')
            stack.callback(guest.destroy)
            try:
                guest.start(lambda pid: group.take(
                    pid, memory.fields(memory.read(pid, 'status'))['RssAnon']))
                guest.wait_shell(patience_s)
                guest.wait_multi_user()
                work(guest)
            except exception.DemoFailed as e:
                if group.ran_out():
                    return count, 'out of memory'
                if time.monotonic() - began >= patience_s:
                    return count, f'too slow: {e}'
                # hours may have gone into what is known by now
                progress(f'{label}: {e}')
                return count or None, f'failed: {e}'
            took_s = time.monotonic() - began
            time.sleep(wait_s)
            if group.ran_out():
                return count, 'out of memory'
            if not count:
                patience_s = took_s * _PATIENCE
            elif took_s > patience_s:
                return count, f'too slow: it took {took_s:.0f} s'
    return options.most, f'no more than {options.most} are tried'
