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

"""A clock that is set while bases are in use, just used, and built.

The host's clock is the same for all that runs on it, so it is not set: the
processes are told another time by libfaketime. The files' times stay, as they
do when a clock is set.
"""

import glob
import os
import subprocess
import time

from nova_flexmem.store import basestore
from tests.drills import harness
from tests.unit.image import samples

_LIBRARY = '/usr/lib/*/faketime/libfaketime.so.1'
_USED, _GIVEN_BACK, _BUILT, _OLD = (letter * 32 for letter in 'abcd')

_JUMPS = ('+10y', '+1y', '+1d', '-1d', '-1y', '-10y')

#: After which bases are removed by default, in seconds.
_AGE_S = 86400

_TIME = 'import time; print(time.time(), time.clock_gettime(' \
        'time.CLOCK_BOOTTIME))'


class ClockTest(harness.DrillTestCase):

    def setUp(self):
        super().setUp()
        found = glob.glob(_LIBRARY)
        if not found:
            self.skipTest('libfaketime is not installed')
        self.library = found[0]

    def _clock(self, jump):
        return {'LD_PRELOAD': self.library, 'FAKETIME': jump,
                'FAKETIME_DONT_FAKE_MONOTONIC': '1', 'NO_FAKE_STAT': '1'}

    def _assert_faked(self, jump):
        """See that the clock is another one, and the time since boot not."""
        out = subprocess.run(
            ['python3', '-c', _TIME], check=True, stdout=subprocess.PIPE,
            env=os.environ | self._clock(jump)).stdout
        now_s, up_s = map(float, out.split())
        self.assertGreater(abs(now_s - time.time()), 80000)
        self.assertLess(abs(up_s - time.clock_gettime(time.CLOCK_BOOTTIME)),
                        60)

    def _store(self):
        store = self.new_store()
        for key in (_USED, _GIVEN_BACK, _BUILT, _OLD):
            samples.publish(store, key)
        store.use(_USED, 'instance')
        store.use(_GIVEN_BACK, 'instance')
        store.release(_GIVEN_BACK, 'instance')
        # of another boot of the host, and of three days ago
        os.unlink(store.folder(f'uses/{_OLD}.clock'))
        then_s = time.time() - 3 * _AGE_S
        os.utime(store.folder(f'uses/{_OLD}'), (then_s, then_s))
        return store

    def test_clock_set(self):
        removed = dict.fromkeys((_USED, _GIVEN_BACK, _BUILT, _OLD), 0)
        for jump in _JUMPS:
            self._assert_faked(jump)
            store = self._store()
            code, _out, error = self.command(
                store, 'prune', '--older-than', str(_AGE_S),
                env=self._clock(jump))
            self.assertEqual(0, code, error)
            for key in removed:
                removed[key] += key not in store.keys()
            # what is of use is used on, by processes that know the new time
            basestore.Store(store.path).ensure_verified(_USED)
        self.figures(jumps=' '.join(_JUMPS).replace('+', 'plus ')
                     .replace('-', 'minus '),
                     removed_in_use=removed[_USED],
                     removed_just_given_back=removed[_GIVEN_BACK],
                     removed_just_built=removed[_BUILT],
                     removed_old=removed[_OLD])
        # set back by years, there is nothing to tell that it is old
        self.assertEqual([0, 0, 0, len(_JUMPS) - 2], [*removed.values()])

    def test_clock_set_during_builds(self):
        """A build that runs is no leftover, whatever the time is said to be.

        (libfaketime cannot wait for a lock: clock_nanosleep fails.)
        """
        kept, removed = 0, 0
        for jump in _JUMPS:
            store = self._store()
            with (store.lock('build', _BUILT),
                  store.build_folder(_BUILT) as folder):
                code, _out, error = self.command(store, 'list',
                                                 env=self._clock(jump))
                self.assertEqual(0, code, error)
                kept += os.path.isdir(folder)
            os.mkdir(folder)
            self.command(store, 'list', env=self._clock(jump))
            removed += not os.path.exists(folder)
        self.figures(jumps=len(_JUMPS), running_builds_kept=kept,
                     leftovers_removed=removed)
        self.assertEqual((len(_JUMPS), len(_JUMPS)), (kept, removed))
