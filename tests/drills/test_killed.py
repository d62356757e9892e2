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

"""kill -9 of what builds and uses a base, at random points."""

import os
import signal
import subprocess
import sys
import time

from nova_flexmem.build import builder
from nova_flexmem import exception
from tests.drills import harness
from tests.functional import harness as functional


class KilledTest(harness.DrillTestCase):

    def _start_spawn(self, store):
        return subprocess.Popen(
            [sys.executable, '-m', 'tests.drills.spawn', store.path,
             harness.image(), 'instance-uuid'],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def _start_build(self, store):
        return functional.Command(store, 'build', harness.image())

    def test_build_killed(self):
        self._kill(self._start_build)

    def test_spawn_killed(self):
        self._kill(self._start_spawn)

    def _kill(self, start):
        store = self.new_store()
        empty = harness.traces(store)
        duration_s, left, files = self._undisturbed(start, store)
        key = store.keys()[0]
        # records of it, which the next build takes over
        allowed = {name.replace('KEY', key) for name in (
            'uses/KEY', 'uses/KEY.clock')}
        self._forget(store)
        published, slowest_s, wrong, leftovers = 0, 0.0, [], []
        for _point in range(harness.POINTS // 2):
            after_s = self.random.uniform(0, duration_s)
            started = start(store)
            time.sleep(after_s)
            started.send_signal(signal.SIGKILL)
            started.communicate()
            slowest_s = max(slowest_s,
                            functional.wait_for_helpers_to_end(store))
            builder.clean(store)
            found = set(harness.traces(store)) - set(empty)
            if store.keys():  # it was quicker than the signal
                published += 1
                allowed_here = set(left)
                try:
                    store.get(key).verify()
                except exception.BaseDamaged as e:
                    wrong.append((after_s, e))
                if files != store.get(key).manifest.files:
                    wrong.append((after_s, 'another base'))
            else:
                allowed_here = allowed
            if found - allowed_here:
                leftovers.append((after_s, found - allowed_here))
            self._forget(store)
        again = self._undisturbed(start, store)
        self.figures(points=harness.POINTS // 2, seed=harness.SEED,
                     undisturbed_s=round(duration_s, 1),
                     published=published, wrong=len(wrong),
                     leftovers=len(leftovers),
                     helpers_ended_within_s=round(slowest_s, 2))
        self.assertEqual(([], []), (wrong, leftovers))
        self.assertEqual((left, files), again[1:])

    def _undisturbed(self, start, store):
        """Return how long one takes, what is there then, and the files."""
        began = time.monotonic()
        started = start(store)
        _out, err = started.communicate()
        duration_s = time.monotonic() - began
        self.assertEqual(0, started.returncode, err)
        key, = store.keys()
        return (duration_s, harness.traces(store),
                store.get(key).manifest.files)

    def _forget(self, store):
        for key in store.keys():
            for user in store.recorded_users(key):
                store.release(key, user)
            store.remove(key)
        self.assertEqual([], os.listdir(store.folder('builds')))
