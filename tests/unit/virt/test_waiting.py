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

import contextlib
import functools
import threading
import time

import fixtures
import testtools

from nova_flexmem import exception
from nova_flexmem.store import basestore
from nova_flexmem.store import locks
from nova_flexmem.virt import waiting

#: Seconds after which a thread that should go on is given up.
_LIMIT_S = 60


class WaitingTest(testtools.TestCase):

    @contextlib.contextmanager
    def elsewhere(self, hold):
        """Have a thread hold something; a context manager.

        :param hold: returns a context manager
        """
        begun, end = threading.Event(), threading.Event()

        def run():
            with hold():
                begun.set()
                end.wait(_LIMIT_S)

        thread = threading.Thread(target=run)
        thread.start()
        self.assertTrue(begun.wait(_LIMIT_S))
        try:
            yield end
        finally:
            end.set()
            thread.join(_LIMIT_S)

    def assert_busy(self, words, hold):
        def take():
            with hold():
                self.fail('it was taken')

        e = self.assertRaises(exception.HostBusy, take)
        self.assertIn(words, str(e))


class LockTest(WaitingTest):

    def setUp(self):
        super().setUp()
        store = basestore.Store(self.useFixture(fixtures.TempDir()).path)
        self.lock = functools.partial(store.lock, locks.NEED, 'a name')

    def locked(self, seconds):
        return waiting.locked(self.lock, waiting.Deadline(seconds))

    def test_free(self):
        for seconds in (None, 0, 60):
            with self.locked(seconds):
                self.assert_busy('build_wait_s', lambda: self.locked(0))

    def test_given_up(self):
        with self.elsewhere(self.lock):
            began_s = time.monotonic()
            self.assert_busy('over 1 s', lambda: self.locked(1))
            self.assertGreater(time.monotonic() - began_s, 0.9)
        with self.locked(0):
            pass

    def test_waited_for(self):
        for seconds in (None, _LIMIT_S):
            with self.elsewhere(self.lock) as end:
                threading.Timer(0.2, end.set).start()
                with self.locked(seconds):
                    self.assertTrue(end.is_set())

    def test_errors_of_the_holder_are_its_own(self):
        def fail():
            with self.locked(1):
                raise ValueError

        self.assertRaises(ValueError, fail)
        with self.locked(0):
            pass


class SlotsTest(WaitingTest):

    def slots(self, running, room):
        self.made = waiting.Slots(running, room)
        return lambda seconds=_LIMIT_S: self.made.take(
            waiting.Deadline(seconds))

    def test_as_many_as_may_run(self):
        take = self.slots(2, 0)
        with take(), take():
            self.assert_busy('max_waiting_builds', take)
        with take(), take():
            pass

    def test_as_many_as_may_wait(self):
        take = self.slots(1, 2)
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(self.elsewhere(take))
            done = threading.Semaphore(0)
            for _waiter in range(2):
                threading.Thread(target=self._pass, args=(take, done)).start()
            self._await(lambda: self.made._room._value == 0)
            self.assert_busy('2 other builds', take)
            # whoever waits as long as it takes is not counted
            threading.Thread(target=self._pass, args=(
                functools.partial(take, None), done)).start()
            self.assertFalse(done.acquire(timeout=0.2))
            first.set()
            for _waiter in range(3):
                self.assertTrue(done.acquire(timeout=_LIMIT_S))
        with take(0):
            pass

    def _pass(self, take, done):
        with take():
            done.release()

    def _await(self, condition):
        end_s = time.monotonic() + _LIMIT_S
        while not condition():
            self.assertLess(time.monotonic(), end_s)
            time.sleep(0.01)

    def test_given_up(self):
        take = self.slots(1, 1)
        with self.elsewhere(take):
            for _time in range(3):  # whoever gave up waits no longer
                self.assert_busy('over 0.1 s', lambda: take(0.1))
