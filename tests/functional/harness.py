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

"""What the tests with real guests share: images, bases, guests."""

import atexit
import contextlib
import fcntl
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import psutil
import testtools

from nova_flexmem.build import builder
from nova_flexmem.demo import debian
from nova_flexmem.demo import hypervisor
from nova_flexmem.demo import launcher
from nova_flexmem.demo import stock
from nova_flexmem.guest import domain
from nova_flexmem.host import ksm
from nova_flexmem.host import ksm_switch
from nova_flexmem import process
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore

#: Kept between runs: an image takes minutes to make. Bases are built anew.
CACHE = os.environ.get('FLEXMEM_TEST_CACHE', '/var/tmp/nova-flexmem-images')

#: The variable of the environment with the path of all workers' base store.
STORE = 'FLEXMEM_TEST_STORE'

#: Within which helper programs must end after who started them was killed:
#: 2 s at most on an idle host.
_HELPERS_END_S = 60

#: For guests on a busy host: TCG's timer is too late for Linux's check there.
NO_TIMER_CHECK = 'no_timer_check'

FLAVOR = stock.Flavor(ram_mib=512, disk_bytes=4 << 30)


class MemoryWatch:
    """Watches what a process and its descendants take; a context manager.

    :ivar peak_bytes: the most, in proportional set size, less the code that
        QEMU has translated: up to 1 GiB, and only where there is no KVM
    """

    def __init__(self, pid):
        self.peak_bytes = 0
        self._top = psutil.Process(pid)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._ended.set()
        self._thread.join()

    def _watch(self):
        while not self._ended.wait(0.5):
            self.peak_bytes = max(self.peak_bytes, self._now())

    def _now(self):
        taken = 0
        # those that end meanwhile take nothing
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in (self._top, *self._top.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess,
                                         psutil.ZombieProcess):
                    taken += sum(
                        mapping.pss for mapping in one.memory_maps(
                            grouped=False)
                        if not (mapping.path == '[anon]'
                                and mapping.perms == 'rwxp'))
        return taken


class StoreTestCase(testtools.TestCase):
    """Has a folder, and a base store of its own to build bases in."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not process.available('guestfish'):
            raise cls.skipException('guestfish is not installed')
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory(
            prefix='flexmem-test-', dir='/var/tmp'))
        cls.store = new_store(cls.folder)


class GuestTestCase(testtools.TestCase):
    """Has the image of a layout, its base, and a launcher of guests."""

    layout: str
    rootfs = 'auto'

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if os.geteuid() != 0:
            cls.skipTest(cls, 'needs root, to make images and run guests')
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory(
            prefix='flexmem-test-', dir='/var/tmp'))
        # QEMU runs as a user of its own, and must get to the files
        os.chmod(cls.folder, 0o711)
        cls.store = shared_store()
        cls.image = cls.make_image()
        cls.base, _new = builder.build(
            cls.store, cls.image, builder.Options(
                rootfs=cls.rootfs, allow_backing_chain=True))
        cls.connection = cls.enterClassContext(
            hypervisor.connect(cls.folder))
        cls.launcher = launcher.Launcher(
            cls.connection, cls.folder, hypervisor.domain_type(), FLAVOR)

    @classmethod
    def make_image(cls):
        """Return the path of the image, a qcow2."""
        return debian.build(cls.layout, CACHE)

    @property
    def boot(self):
        """What FlexMem guests of the image boot from."""
        return domain.Boot.of(self.base)

    def raw_image(self):
        """Return the path of the image as a raw file."""
        path = os.path.join(self.folder, 'image.raw')
        if not os.path.exists(path):
            process.run('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw',
                        self.image, path, timeout_s=600)
        return path

    def start(self, guest):
        """Start a guest and wait until it takes scripts."""
        self.addCleanup(guest.destroy)
        guest.start()
        guest.wait_shell()
        return guest

    def assert_base_unchanged(self):
        """Check that every byte of the base is what the build made."""
        basefiles.Base(self.base.path).verify()


@functools.cache
def shared_store():
    """Return a Store of all test workers: bases of real images take minutes.

    It is this process's own where tests.functional.run did not start it.
    """
    folder = os.environ.get(STORE)
    if folder is not None:
        return basestore.Store(folder)
    folder = tempfile.mkdtemp(prefix='flexmem-store-', dir='/var/tmp')
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.chmod(folder, 0o711)
    return new_store(folder)


def new_store(folder):
    """Return a Store below a folder, whose appliance is all tests'."""
    path = os.path.join(folder, 'store')
    os.makedirs(path)
    return store_at(path)


def store_at(path):
    """Return a Store in a folder, whose appliance is all tests'."""
    appliance = os.path.join(CACHE, 'appliance')
    os.makedirs(appliance, exist_ok=True)
    os.symlink(appliance, os.path.join(path, 'appliance'))
    return basestore.Store(path)


def take_ksm(test):
    """Have KSM to oneself until a test's end, which unmerges.

    Tests of other workers wait for it meanwhile. A test is skipped if
    somebody else has it.
    """
    if not os.access(os.path.join(ksm_switch.FOLDER, 'run'), os.W_OK):
        test.skipTest('needs root, and a kernel with KSM')
    os.makedirs(CACHE, exist_ok=True)
    lock = open(os.path.join(CACHE, 'ksm.lock'), 'w')
    test.addCleanup(lock.close)
    fcntl.flock(lock, fcntl.LOCK_EX)
    if ksm.counters().run == 1:
        test.skipTest('KSM is on already, for somebody else')
    test.addCleanup(ksm_switch.Switch().off, unmerge=True)


class Command(subprocess.Popen):
    """A command of "nova-flexmem image" that runs on a Store.

    As a context manager it is killed if it has not ended by itself.

    :param env: {name: value} beside the environment that there is
    :ivar lines: what was read of its standard error
    """

    def __init__(self, opened, *words, env=None):
        super().__init__(
            [sys.executable, '-m', 'nova_flexmem.cmd.main', '--store',
             opened.path, 'image', *words], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
            env=os.environ | (env or {}))
        self.lines: list[str] = []

    def __exit__(self, *exc):
        self.kill()
        super().__exit__(*exc)

    def wait_for_line(self, words=''):
        """Wait for the next line with some words on its standard error.

        :returns: whether there was one before the command ended
        """
        for line in self.stderr:
            self.lines.append(line)
            if words in line:
                return True
        return False

    def end(self):
        """Wait for its end; return its exit code, its output and errors."""
        with self:
            self.lines += self.stderr
            return self.wait(), self.stdout.read(), ''.join(self.lines)


def wait_for_helpers_to_end(opened):
    """Wait until no process has to do with the builds of a Store.

    :returns: for how many seconds that was
    """
    began = time.monotonic()
    while found := _processes_naming(opened.folder('builds')):
        waited_s = time.monotonic() - began
        assert waited_s < _HELPERS_END_S, found
        time.sleep(0.05)
    return time.monotonic() - began


def _processes_naming(path):
    """Return the command lines of processes with a path in them."""
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/cmdline') as f:
                words = f.read().replace('\0', ' ')
        except OSError:
            continue  # it ended
        if path in words:
            found.append(words)
    return found
