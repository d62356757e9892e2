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
import os
import tempfile
import time

from nova_flexmem.demo import figures
from nova_flexmem.demo import hypervisor
from nova_flexmem.demo import launcher
from nova_flexmem.demo import stock
from nova_flexmem.demo import workload
from nova_flexmem import exception
from nova_flexmem.host import memory
from nova_flexmem import process

MIB = 1 << 20

#: Long enough for guests with free page reporting to hand pages back (the
#: kernel does so every 2 s, mm/page_reporting.c) and for boots to calm down.
_SETTLE_S = 15

_CONVERT_TIMEOUT_S = 600


@dataclasses.dataclass(frozen=True)
class Options:
    """What the demo does."""

    guests: int = 3
    read_bytes: int = 100 * MIB
    ram_mib: int = 512
    disk_bytes: int | None = None  #: None means the image's virtual size
    device: str = 'nvdimm'
    writes: str = 'disk'
    direct_paths: tuple[str, ...] = ()
    user_data: str | None = None  #: for cloud-init; None means no drive


def run(image, image_format, boot, options, work_folder, progress):
    """Measure stock guests and FlexMem guests of one image.

    :param image: path of the image
    :param image_format: qcow2 or raw
    :param boot: the image's base, a guest.domain.Boot
    :param options: the Options
    :param work_folder: where to have temporary files
    :param progress: called with a text as each step begins
    :returns: KindFigures of the stock guests, and of the FlexMem guests
    :raises: DemoFailed, ProgramFailed
    """
    with tempfile.TemporaryDirectory(prefix='flexmem-demo-',
                                     dir=work_folder) as folder:
        os.chmod(folder, 0o711)
        progress('converting the image to raw, as Nova does')
        raw = os.path.join(folder, 'image.raw')
        process.run('qemu-img', 'convert', '-f', image_format, '-O', 'raw',
                    image, raw, timeout_s=_CONVERT_TIMEOUT_S)
        flavor = stock.Flavor(options.ram_mib,
                              options.disk_bytes or os.path.getsize(raw))
        with hypervisor.connect(folder) as connection:
            launch = launcher.Launcher(connection, folder,
                                       hypervisor.domain_type(), flavor,
                                       options.user_data)
            measured = [
                _measure(kind, create, pmem, options, progress)
                for kind, create, pmem in (
                    ('stock', lambda name: launch.stock(name, raw), None),
                    ('flexmem', lambda name: launch.flexmem(
                        name, boot, device=options.device,
                        writes=options.writes,
                        direct_paths=options.direct_paths), boot.root_pmem))]
    if len({guest.reading.digest for kind in measured
            for guest in kind.guests}) > 1:
        raise exception.DemoFailed(
            reason='the guests did not all read the same files with the same'
            ' content, so their figures can not be compared')
    return measured


def _measure(kind, create, root_pmem, options, progress):
    """Run all guests of a kind; returns their KindFigures."""
    seen = []
    available = memory.host_available_bytes()
    with contextlib.ExitStack() as stack:
        for number in range(1, options.guests + 1):
            name = f'{kind}-{number}'
            progress(f'{name}: booting')
            guest = stack.enter_context(create(name))
            guest.wait_shell()
            multi_user_s = guest.wait_multi_user()
            progress(f'{name}: multi-user after {multi_user_s:.1f} s; reading')
            before = workload.page_cache(guest.meminfo())
            workload.choose_files(guest, options.read_bytes)
            reading = workload.read_files(guest)
            after = workload.page_cache(guest.meminfo())
            seen.append((guest, multi_user_s, before, after, reading))
        progress(f'{kind}: settling, then measuring')
        time.sleep(_SETTLE_S)
        pids = [guest.pid for guest, *_ in seen]
        result = figures.KindFigures(
            guests=[figures.GuestFigures(
                multi_user_s, before, after, reading,
                memory.of_process(guest.pid, options.ram_mib * MIB))
                for guest, multi_user_s, before, after, reading in seen],
            shared_bytes=[
                memory.mapped_bytes(pids[:number], root_pmem)
                if root_pmem else 0 for number in range(1, len(pids) + 1)],
            available_lost_bytes=available - memory.host_available_bytes())
        progress(f'{kind}: powering off')
        for guest, *_ in seen:
            guest.power_off()
    return result
