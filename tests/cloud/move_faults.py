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

"""What is done to moves in drills: to hosts, their programs and their bases.

Each Fault is told of one Move, and comes at a random point of it.
"""

import contextlib
import dataclasses
import itertools
import os
import random
import shutil
import time
import typing

from openstack import exceptions as sdk_exceptions
from oslo_concurrency import lockutils

from nova_flexmem.store import basefiles
from nova_flexmem.store import superblock

_GOING_ON = ('accepted', 'queued', 'preparing', 'running')

#: How long a program of a host is away before it is started again.
_AWAY_S = 4.0


@dataclasses.dataclass
class Move:
    """A move of one server, which has not begun or is in course.

    :ivar usual_s: how long one takes that nothing happens to
    :ivar begin: begins it; returns the id of the migration
    """

    server_id: str
    source: str
    target: str
    usual_s: float
    begin: typing.Callable[[], int]

    def wait(self, random_):
        """Wait until a random point of the move."""
        time.sleep(random_.uniform(0, self.usual_s))


class Faults:
    """The faults, each a method with the Move that it is for.

    :param case: the moving.MovingTestCase
    :param seed: of the random points
    """

    #: Method, and how many of a hundred drills are of it.
    KINDS = {'abort': 22, 'kill_qemu': 22, 'kill_target_compute': 12,
             'kill_source_compute': 12, 'kill_target_libvirtd': 8,
             'other_bytes': 8, 'other_layout': 8, 'no_base': 4,
             'no_base_and_no_ssh': 4}

    def __init__(self, case, seed):
        self._case = case
        self._cloud = case.cloud
        self._hosts = case.hosts
        self._random = random.Random(seed)

    def choose(self, many):
        """Return the names of some faults, in random order."""
        names = [name for name, each in self.KINDS.items()
                 for _ in range(each)]
        self._random.shuffle(names)
        return list(itertools.islice(itertools.cycle(names), many))

    def do(self, name, move):
        """Do what a name stands for to a Move."""
        getattr(self, name)(move)

    def abort(self, move):
        """An administrator changes his mind."""
        migration_id = move.begin()
        move.wait(self._random)
        with contextlib.suppress(
                sdk_exceptions.ConflictException,  # not in a state for it
                sdk_exceptions.BadRequestException,
                sdk_exceptions.NotFoundException):  # ended
            self._case.call('DELETE', f'/servers/{move.server_id}/migrations/'
                            f'{migration_id}')

    def kill_qemu(self, move):
        """The QEMU at the destination dies while it receives the guest."""
        migration_id = move.begin()
        deadline = time.monotonic() + 10 * move.usual_s
        while not (pids := self._hosts.qemus(move.server_id, move.target)):
            if (time.monotonic() > deadline or
                    self._state(move, migration_id) not in _GOING_ON):
                return
            time.sleep(0.05)
        time.sleep(self._random.uniform(0, move.usual_s / 2))
        if self._hosts.waits(move.server_id, move.target):
            self._hosts.kill(pids)

    def kill_target_compute(self, move):
        """nova-compute at the destination dies, and is started again."""
        move.begin()
        move.wait(self._random)
        self._restart(f'nova-compute-{move.target}')

    def kill_source_compute(self, move):
        """nova-compute at the source dies, and is started again."""
        move.begin()
        move.wait(self._random)
        self._restart(f'nova-compute-{move.source}')

    def kill_target_libvirtd(self, move):
        """libvirt at the destination dies, and is started again."""
        move.begin()
        move.wait(self._random)
        self._restart(f'libvirtd-{move.target}')

    def other_bytes(self, move):
        """A page of the destination's base is another one."""
        self._scribble(self._base(move))
        move.begin()

    def other_layout(self, move):
        """The destination has another layout of the image under the key."""
        base = self._base(move)
        self._scribble(base)
        # as if it had been built like that
        path = os.path.join(base.path, basefiles.MANIFEST)
        files = base.manifest.files | {basefiles.ROOT_PMEM: basefiles.File.of(
            base.file(basefiles.ROOT_PMEM))}
        status = os.stat(path)
        os.unlink(path)
        dataclasses.replace(base.manifest, files=files).write(path)
        os.chown(path, status.st_uid, status.st_gid)
        move.begin()

    def no_base(self, move):
        """The destination has no base of the image."""
        self._remove(move)
        move.begin()

    def no_base_and_no_ssh(self, move):
        """The destination has no base, and gets nothing from the source."""
        self._remove(move)
        with self._away(f'sshd-{move.source}'):
            move.begin()
            time.sleep(move.usual_s)

    def _restart(self, name):
        with self._away(name):
            time.sleep(self._random.uniform(0, _AWAY_S))

    @contextlib.contextmanager
    def _away(self, name):
        """End a service as kill -9 does, and start it afterwards."""
        service = self._cloud.services[name]
        with lockutils.external_lock(
                name, lock_path=self._cloud.layout.path('run')):
            try:
                service.kill()
                yield
            finally:
                service.start()
                service.wait()

    def _base(self, move):
        """Return the Base at the destination, which has it from earlier."""
        here = self._hosts.base(move.server_id, move.source)
        path = self._hosts.path(move.target, 'store', 'bases', here.key)
        if not os.path.exists(path):
            shutil.copytree(here.path, path)
            owner = os.stat(os.path.dirname(path))
            for name in (path, *(os.path.join(path, each)
                                 for each in os.listdir(path))):
                os.chown(name, owner.st_uid, owner.st_gid)
        return basefiles.Base(path)

    def _scribble(self, base):
        """Change a page of root.pmem, anywhere behind the superblocks."""
        path = base.file(basefiles.ROOT_PMEM)
        pages = os.path.getsize(path) // 4096
        with open(path, 'r+b') as f:
            f.seek(4096 * self._random.randrange(
                superblock.ALIGN_BYTES // 4096, pages))
            f.write(self._random.randbytes(4096))

    def _remove(self, move):
        shutil.rmtree(self._base(move).path)

    def _state(self, move, migration_id):
        return self._case.state(move.server_id, migration_id)
