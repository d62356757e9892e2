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

"""Jobs of fio, and the figures in its answers (see fio(1), JSON output)."""

import dataclasses
import json

from oslo_utils import units

from nova_flexmem import exception

#: How long a job goes on at most.
_LIMIT_S = 5
_WARM_S = 3

_WRITTEN = '/var/tmp/flexmem-fio'
_WRITTEN_MIB = 64

#: No advice to the kernel, and no cleaning of its cache by fio: the files are
#: read as programs read theirs.
_COMMON = ('--name=job --output-format=json --percentile_list=50:99'
           ' --fadvise_hint=0 --invalidate=0 --allrandrepeat=1')


@dataclasses.dataclass(frozen=True)
class Job:
    """A job, and what is read out of its answer.

    :ivar name: of the figures
    :ivar set: number of the set of files that it reads; None if it writes
    :ivar drop: whether the guest's page cache is emptied before
    :ivar args: of fio
    :ivar figures: (what is behind the name, unit, function of what fio says
        of the reads or writes)
    """

    name: str
    set: int | None
    drop: bool
    args: str
    figures: tuple

    def command(self, fio, files):
        """Return the shell command of the job.

        :param fio: the command that is fio
        :param files: the imagefiles.Files
        """
        args = f'{fio} {_COMMON} {self.args}'
        if self.set is None:
            return f'{args} --filename={_WRITTEN} --size={_WRITTEN_MIB}M'
        names = ':'.join(files.sets[self.set])
        return f"{args} --readonly --filename='{names}'"

    def values(self, output):
        """Return the figures in what fio printed, {(name, unit): value}.

        :raises: BenchFailed if it is no answer of fio's, or has no figures
        """
        try:
            # messages may be around it
            answer = json.loads(output[output.index('{'):
                                       output.rindex('}') + 1])
            job, = answer['jobs']
            stats = job['write' if self.set is None else 'read']
            if job['error'] or not stats['total_ios']:
                raise ValueError
            return {(f'{self.name}{suffix}', unit): value(stats)
                    for suffix, unit, value in self.figures}
        except (ValueError, KeyError, TypeError, ZeroDivisionError):
            raise exception.BenchFailed(
                reason=f'{self.name}: fio in a guest says: {output[:500]}')


def _percentile(name):
    return lambda stats: stats['clat_ns']['percentile'][f'{name}.000000'] / 1e3


def _spent_s(stats):
    """Return the seconds of all operations, without fio's own between them.

    Its own clock of a job has milliseconds, and some jobs take few.
    """
    return stats['lat_ns']['mean'] * stats['lat_ns']['N'] / 1e9


_READ_SPEED = (('', 'MiB/s', lambda stats:
                stats['io_bytes'] / units.Mi / _spent_s(stats)),)
_READ_RATE = (('', '1/s', lambda stats: stats['total_ios'] / _spent_s(stats)),)

#: Syncing is part of these, and fio counts it apart from the writes.
_WRITE_SPEED = (('', 'MiB/s', lambda stats: stats['bw_bytes'] / units.Mi),)
_WRITE_RATE = (('', '1/s', lambda stats: stats['iops']),)

_LATENCY = ((', median', 'us', _percentile(50)),
            (', 99 %', 'us', _percentile(99)),
            (', mean', 'us', lambda stats: stats['clat_ns']['mean'] / 1e3))

_ONCE = f' --runtime={_LIMIT_S}'
_AGAIN = f' --runtime={_WARM_S} --time_based=1'

_SEQUENTIAL = ('--ioengine=psync --rw=read --bs=128k'
               ' --file_service_type=sequential')
_RANDOM = '--ioengine=psync --rw=randread --bs=4k'
_MAPPED = '--ioengine=mmap --rw=randread --bs=4k'

#: How many sets of files the jobs read.
SETS = 5

#: With the image not in the host's page cache.
HOST_COLD = (
    Job('first touch of a mapped page, host cold', 0, True,
        _MAPPED + _ONCE, _LATENCY),
    Job('sequential read, host cold', 1, True, _SEQUENTIAL + _ONCE,
        _READ_SPEED))

#: With it there.
HOST_WARM = (
    Job('first touch of a mapped page, host warm', 2, True,
        _MAPPED + _ONCE, _LATENCY),
    Job('sequential read, host warm', 3, True, _SEQUENTIAL + _ONCE,
        _READ_SPEED),
    Job('random 4 KiB read, host warm', 4, True, _RANDOM + _ONCE, _READ_RATE),
    # all has been read by now
    Job('sequential read, guest warm', 3, False, _SEQUENTIAL + _AGAIN,
        _READ_SPEED),
    Job('random 4 KiB read, guest warm', 3, False, _RANDOM + _AGAIN,
        _READ_RATE),
    Job('mapped random 4 KiB read, guest warm', 3, False, _MAPPED + _AGAIN,
        _READ_RATE),
    Job('sequential write and fsync', None, False,
        '--ioengine=psync --rw=write --bs=1M --end_fsync=1', _WRITE_SPEED),
    Job('random 4 KiB write, fdatasync each', None, False,
        '--ioengine=psync --rw=randwrite --bs=4k --fdatasync=1' + _AGAIN,
        _WRITE_RATE))
