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

"""What it costs guests to read the image's files and to write new ones.

doc/source/benchmarks.rst tells what each figure means.
"""

import dataclasses
import os

from oslo_utils import units

from nova_flexmem.bench import environment
from nova_flexmem.bench import fio
from nova_flexmem.bench import fiodisk
from nova_flexmem.bench import hostcache
from nova_flexmem.bench import imagefiles
from nova_flexmem.bench import results
from nova_flexmem.demo import kinds
from nova_flexmem import exception
from nova_flexmem.guest import fitness
from nova_flexmem.guest import xmledit
from nova_flexmem.host import pages

KINDS = ('stock', 'stock-writeback', 'flexmem')

#: What is no result but says what the reads with a cold host found.
_CACHED = 'of the image in host cache, host cold'

_DROP = '''\
sync
echo 3 > /proc/sys/vm/drop_caches
'''

#: Milliseconds that it takes to add one byte to a file.
_CHANGE = '''\
begun=$(date +%s%N)
printf x >> '{path}'
ended=$(date +%s%N)
echo $((ended - begun))
'''


@dataclasses.dataclass(frozen=True)
class Options:
    """What the benchmark does.

    :ivar guests: of each kind, one after the other
    :ivar set_mib: of the image's files for each measurement of a first access
    """

    guests: int = 1
    set_mib: int = 20
    guest: kinds.Options = kinds.Options()


class DiskIo:
    """One run of the benchmark.

    :param ready: kinds.Kinds, to make guests with
    :param fio_disk: path of the disk with fio
    :param options: the Options
    :param progress: called with a text as each step begins
    """

    def __init__(self, ready, fio_disk, options, progress):
        self._ready = ready
        self._fio_disk = fio_disk
        self._options = options
        self._progress = progress
        self._files: imagefiles.Files | None = None
        self._samples: dict[tuple[str, str], dict[str, list[float]]] = {}

    def run(self):
        """Measure all kinds; returns the figures."""
        for number in range(1, self._options.guests + 1):
            for kind in KINDS:
                self._measure(kind, f'{kind}-{number}')
        return [results.Figure(name, unit, samples, compared=name != _CACHED)
                for (name, unit), samples in self._samples.items()]

    def _measure(self, kind, name):
        guest = self._guest(kind, name)
        path = self._image_file(kind)
        hostcache.drop(path)
        self._progress(f'{name}: booting')
        with guest:
            guest.wait_shell()
            guest.wait_multi_user()
            guest.output(fiodisk.MOUNT)
            # looking for files leads all over the image: not before these
            # jobs, once the files are known
            files = self._files or self._choose_files(guest)
            hostcache.drop(path)
            # what the guest has mapped of it stays
            self._add((_CACHED, 'MiB'), kind,
                      pages.resident_bytes(path) / units.Mi)
            # each time: a job reads ahead, and the host drops some by itself
            for job in fio.HOST_COLD:
                hostcache.drop(path)
                self._run(kind, guest, job, files)
            self._check_files(guest, files)
            for job in fio.HOST_WARM:
                hostcache.fill(path)
                self._run(kind, guest, job, files)
            self._change(kind, guest, files)

    def _guest(self, kind, name):
        if kind == 'flexmem':
            guest = self._ready.guest('flexmem', name)
        else:
            guest = self._ready.guest('stock', name)
            if kind == 'stock-writeback':
                guest.xml = with_writeback(guest.xml)
        guest.xml = fiodisk.attach(guest.xml, self._fio_disk)
        return guest

    def _image_file(self, kind):
        """Return the file from which guests of a kind read the image."""
        return (self._ready.image.boot.root_pmem if kind == 'flexmem'
                else self._ready.raw)

    def _choose_files(self, guest):
        self._files = imagefiles.choose(
            guest.output(imagefiles.LIST), fio.SETS,
            self._options.set_mib * units.Mi)
        return self._files

    def _check_files(self, guest, files):
        if self._choose_files(guest) != files:
            raise exception.BenchFailed(
                reason=f'guest {guest.name}: it has other files than the'
                ' guests before it')

    def _run(self, kind, guest, job, files):
        self._progress(f'{kind}: {job.name}')
        script = job.command(fiodisk.COMMAND, files)
        output = guest.output((_DROP if job.drop else '') + script)
        for figure, value in job.values(output).items():
            self._add(figure, kind, value)

    def _change(self, kind, guest, files):
        name = ('first change of an image file of'
                f' {files.changed_bytes / units.Mi:.0f} MiB')
        self._progress(f'{kind}: {name}')
        output = guest.output(_DROP + _CHANGE.format(path=files.changed))
        self._add((name, 'ms'), kind, int(output) / 1e6)

    def _add(self, figure, kind, value):
        self._samples.setdefault(figure, {}).setdefault(kind, []).append(value)


def with_writeback(xml):
    """Return a domain whose root disk goes through the host's page cache."""
    root = xmledit.parse(xml)
    fitness.root_disk(root).find('driver').set('cache', 'writeback')
    return xmledit.serialize(root)


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
        fio_disk = os.path.join(ready.folder, 'fio.iso')
        fiodisk.create(fio_disk)
        figures = DiskIo(ready, fio_disk, options, progress).run()
    return results.Results('io', described, dataclasses.asdict(options),
                           figures)
