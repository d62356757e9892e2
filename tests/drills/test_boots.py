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

"""Guests that start at once from an image that the host does not have yet."""

import collections
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
import uuid

from nova_flexmem.demo import stock
from nova_flexmem.store import basefiles
from nova_flexmem.store import uses
from tests.drills import harness
from tests.functional import harness as functional
from tests.witness import guest_image
from tests.witness import witness

_BOOTS = 32
_UP_S = 1800
_END_S = 120


@dataclasses.dataclass(frozen=True)
class _Server:
    """A process of tests.drills.spawn and its guest."""

    popen: subprocess.Popen
    user: str
    console: str

    @property
    def up(self):
        """Whether the guest says from its user space that all is well."""
        status = witness.last(witness.read(self.console))
        return status is not None and (
            'ok', 1, 'overlay', 'erofs') == tuple(
                status[key] for key in ('tree', 'boot', 'root', 'lower'))


class BootsTest(harness.DrillTestCase):

    def test_guests_at_once(self):
        # QEMU runs as a user of its own, and must get to the files
        os.chmod(self.folder, 0o711)
        image = guest_image.build(functional.CACHE).raw
        store = functional.new_store(self._open_folder())
        empty = harness.traces(store)
        began = time.monotonic()
        servers = [self._spawn(store, image) for _boot in range(_BOOTS)]
        failed = self._wait_up(servers)
        seconds = time.monotonic() - began
        [key] = store.keys() or self.fail(
            failed[0].popen.communicate(timeout=_END_S))
        users = store.recorded_users(key)
        mapping = uses.mapping(os.path.join(store.folder('bases'), key,
                                            basefiles.ROOT_PMEM))
        errors, pids, answers = [], [], collections.Counter()
        for server in servers:
            out, err = server.popen.communicate(timeout=_END_S)
            if server.popen.returncode or server in failed:
                errors.append((err, witness.tail(witness.read(
                    server.console))))
            else:
                pid, answer = out.split()
                pids.append(pid)
                answers[answer] += 1
        self.figures(boots=_BOOTS, builds=answers['built'],
                     failures=len(errors), mapped=len(mapping),
                     users=len(users), seconds=round(seconds))
        self.assertEqual([], errors)
        self.assertEqual({'built': 1, 'found': _BOOTS - 1}, answers)
        self.assertEqual(sorted(server.user for server in servers), users)
        self.assertEqual(sorted(pids), sorted(mapping))
        self.assertEqual([], store.users(key))
        store.get(key).verify()
        store.remove(key)
        self.assertEqual(empty, harness.traces(store))

    def _open_folder(self):
        """Return a new folder that QEMU's user may enter."""
        path = tempfile.mkdtemp(dir=self.folder)
        os.chmod(path, 0o711)
        return path

    def _spawn(self, store, image):
        user, folder = str(uuid.uuid4()), self._open_folder()
        popen = subprocess.Popen(
            [sys.executable, '-m', 'tests.drills.spawn', store.path, image,
             user, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        self.addCleanup(popen.kill)
        return _Server(popen, user, stock.Folder(
            os.path.join(folder, 'guest')).console)

    def _wait_up(self, servers):
        """Wait until all guests are up, and return those that are not."""
        deadline = time.monotonic() + _UP_S
        waiting = servers
        while waiting and time.monotonic() < deadline:
            waiting = [server for server in waiting if not server.up]
            if any(server.popen.poll() is not None for server in waiting):
                break
            time.sleep(1)
        return waiting
