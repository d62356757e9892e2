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

"""nova-compute and QEMU in containers of their own, with one base store.

A process that maps a base stands for QEMU. Each side has a mount namespace, in
which the store is a volume at the same path. nova-compute's has a process
namespace too where it cannot see QEMU, as in Kolla; in EDPM it can.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile

import testtools

from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore
from tests.unit.image import samples

_USED, _UNUSED = 'a' * 32, 'ab' + 'c' * 30
_USER = '5f0b9d6e-8f0e-4b6c-a1f4-3b8a6d3c2e10'

#: Mounts the volume $1 at $2, and runs the rest there.
_MOUNT = 'mount --bind "$1" "$2"; shift 2; exec "$@"'

_QEMU = """
import mmap, sys
with open(sys.argv[1], 'rb') as f:
    mapped = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
print('mapped', flush=True)
sys.stdin.readline()
print(mapped[:].hex())
"""

_LOCK = """
import sys
from nova_flexmem.store import basestore
with basestore.Store(sys.argv[1]).lock('base', sys.argv[2]):
    print('held', flush=True)
    sys.stdin.readline()
"""

#: What nova-compute does to a store; prints what it found, as JSON.
_COMPUTE = """
import json, os, sys
from oslo_concurrency import lockutils
from nova_flexmem import exception
from nova_flexmem.store import basestore
store = basestore.Store(sys.argv[1])
found = {'users': store.users(sys.argv[2]), 'locked': False, 'kept': False}
try:
    with store.lock('base', sys.argv[2], blocking=False):
        pass
except lockutils.AcquireLockFailedException:
    found['locked'] = True
else:
    found['pruned'] = store.prune(0)
    try:
        store.remove(sys.argv[2])
    except (exception.BaseInUse, exception.BaseNotFound) as e:
        found['kept'] = isinstance(e, exception.BaseInUse)
print(json.dumps(found))
"""


class ContainersTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest('needs root, to mount')
        folder = tempfile.mkdtemp(prefix='flexmem-containers-', dir='/var/tmp')
        self.addCleanup(shutil.rmtree, folder)
        self.volume = os.path.join(folder, 'volume')
        self.path = os.path.join(folder, 'inside', 'nova')
        os.makedirs(self.volume)
        os.makedirs(self.path)
        self.store = basestore.Store(os.path.join(self.volume, 'flexmem'))
        for key in (_USED, _UNUSED):
            samples.publish(self.store, key)
        # nothing outside of the containers has the store at their path
        self.assertEqual([], os.listdir(self.path))

    def inside(self, *words, unshare=(), path=None):
        """Return the words that run a program in a container."""
        return ['unshare', '--mount', '--propagation', 'private', *unshare,
                'sh', '-ec', _MOUNT, 'sh', self.volume, path or self.path,
                *words]

    def start(self, program, *arguments, path=None):
        """Start a program beside nova-compute's container."""
        running = subprocess.Popen(
            self.inside(sys.executable, '-c', program, *arguments, path=path),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(running.communicate)
        self.addCleanup(running.kill)
        self.assertTrue(running.stdout.readline())
        return running

    def start_qemu(self, path=None):
        return self.start(_QEMU, os.path.join(
            path or self.path, 'flexmem', 'bases', _USED,
            basefiles.ROOT_PMEM), path=path)

    def compute(self, *unshare):
        done = subprocess.run(
            self.inside(sys.executable, '-c', _COMPUTE,
                        os.path.join(self.path, 'flexmem'), _USED,
                        unshare=unshare),
            stdout=subprocess.PIPE, text=True, check=True, timeout=60)
        return json.loads(done.stdout)

    def compute_alone(self):
        """Do it without the host's processes."""
        return self.compute('--pid', '--fork', '--mount-proc')

    def is_whole(self, qemu):
        """Return whether QEMU still sees the base as it was published."""
        return qemu.communicate('\n', timeout=60)[0].strip() == self.content

    @property
    def content(self):
        with open(os.path.join(self.store.folder('bases'), _USED,
                               basefiles.ROOT_PMEM), 'rb') as f:
            return f.read().hex()

    def test_qemu_is_seen(self):
        """EDPM: nova-compute has the host's processes, but not its mounts."""
        qemu = self.start_qemu()
        found = self.compute()
        self.assertEqual([f'process {qemu.pid}'], found['users'])
        self.assertTrue(found['kept'])
        self.assertEqual([_UNUSED], found['pruned'])
        self.assertTrue(self.is_whole(qemu))

    def test_qemu_has_the_store_elsewhere(self):
        """A symbolic link of the host that the volume stands for."""
        elsewhere = os.path.join(os.path.dirname(self.volume), 'data')
        os.mkdir(elsewhere)
        qemu = self.start_qemu(elsewhere)
        found = self.compute()
        self.assertEqual([f'process {qemu.pid}'], found['users'])
        self.assertTrue(found['kept'])

    def test_qemu_is_not_seen(self):
        """Kolla: the record of the instance keeps the base."""
        self.store.use(_USED, _USER)
        qemu = self.start_qemu()
        found = self.compute_alone()
        self.assertEqual([_USER], found['users'])
        self.assertTrue(found['kept'])
        self.assertEqual([_UNUSED], found['pruned'])
        self.assertTrue(self.is_whole(qemu))

    def test_qemu_is_neither_seen_nor_recorded(self):
        """Nobody's instance; what it maps stays as it was until it ends."""
        qemu, content = self.start_qemu(), self.content
        found = self.compute_alone()
        self.assertEqual([], found['users'])
        self.assertEqual([_USED, _UNUSED], sorted(found['pruned']))
        self.assertEqual(content,
                         qemu.communicate('\n', timeout=60)[0].strip())

    def test_locks_hold_between_containers(self):
        self.start(_LOCK, os.path.join(self.path, 'flexmem'), _USED)
        self.assertTrue(self.compute_alone()['locked'])
        self.assertTrue(self.compute()['locked'])
