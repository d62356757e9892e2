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

"""What the accounting of `nova-flexmem host memory` costs: python FILE [N].

N QEMU processes (50 by default) that are paused stand for guests: 512 MiB of
RAM, a quarter of it written to, and a base of 384 MiB that QEMU has read 233
MiB of through the device. Takes about 12 GiB of memory, and must be run as
root. The exit status is 1 if 50 guests cost more than 100 ms of CPU.
"""

import contextlib
import json
import os
import resource
import statistics
import sys
import tempfile

from oslo_utils import units

from nova_flexmem import emulator
from nova_flexmem.guest import device as flexmem_device
from nova_flexmem.guest.device import nvdimm
from nova_flexmem.host import accounting
from nova_flexmem import process
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore

MIB = 1 << 20

_RAM_MIB, _WRITTEN_MIB = 512, 128
_BASE_BYTES, _READ_BYTES = 384 * MIB, 233 * MIB
_ROUNDS = 9
_LIMIT_S = 0.1 / 50  # for each guest


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    with tempfile.TemporaryDirectory(dir='/var/tmp') as folder, \
            contextlib.ExitStack() as stack:
        store = basestore.Store(os.path.join(folder, 'store'))
        path = os.path.join(store.folder('bases'), 'f' * 32,
                            basefiles.ROOT_PMEM)
        os.mkdir(os.path.dirname(path))
        written = os.path.join(folder, 'written')
        _write(path, _BASE_BYTES)
        _write(written, _WRITTEN_MIB * MIB)
        program = emulator.find().program
        for _number in range(count):
            _start(program, stack, path, written)
        costs = []
        for _round in range(_ROUNDS):
            before = _cpu_s()
            taken = accounting.measure(store)
            costs.append(_cpu_s() - before)
    [of_base] = taken.bases
    assert len(of_base.instances) == count, taken
    for each in of_base.instances:
        assert each.base_mapped_bytes >= _READ_BYTES, each
        assert each.ram_bytes >= _WRITTEN_MIB * MIB, each
    cost_s = statistics.median(costs)
    print(f'{len(taken.instances)} QEMU processes, {count} of them with the'
          f' base: {cost_s * 1e3:.1f} ms of CPU (median of {_ROUNDS},'
          f' {min(costs) * 1e3:.1f}..{max(costs) * 1e3:.1f})')
    return int(cost_s > _LIMIT_S * len(taken.instances))


def _write(path, size_bytes):
    with open(path, 'wb') as f:
        for _mib in range(size_bytes // MIB):
            f.write(os.urandom(MIB))


def _start(program, stack, path, written):
    popen = process.start(
        program, '-nodefaults', '-no-user-config', '-display',
        'none', '-S', '-machine', 'pc,accel=tcg', '-qmp', 'stdio',
        '-m', f'size={_RAM_MIB}M,slots=1,maxmem=2G',
        '-device', f'loader,file={written},addr=0x1000000,force-raw=on',
        *flexmem_device.memory_backend(path, _BASE_BYTES),
        *nvdimm.Nvdimm().arguments('pc', 0),
        limits=process.Limits(address_space_bytes=16 * units.Gi))
    stack.callback(popen.communicate)
    stack.callback(popen.kill)
    if not popen.stdout.readline():  # greeting
        sys.exit(popen.stderr.read())
    _command(popen, 'qmp_capabilities')
    [device] = _command(popen, 'query-memory-devices')
    _command(popen, 'pmemsave', val=device['data']['addr'], size=_READ_BYTES,
             filename='/dev/null')


def _command(popen, name, **arguments):
    popen.stdin.write(json.dumps({'execute': name, 'arguments': arguments}))
    popen.stdin.write('\n')
    popen.stdin.flush()
    while 'event' in (answer := json.loads(popen.stdout.readline())):
        pass
    return answer['return']


def _cpu_s():
    return sum(used.ru_utime + used.ru_stime for used in (
        resource.getrusage(resource.RUSAGE_SELF),
        resource.getrusage(resource.RUSAGE_CHILDREN)))


if __name__ == '__main__':
    sys.exit(main())
