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

"""Bases are removed by some processes while others use them."""

import collections
import multiprocessing
import os
import random
import time
import traceback

from nova_flexmem.build import builder
from nova_flexmem import exception
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore
from nova_flexmem.store import room
from tests.drills import harness
from tests.unit.image import samples

_KEYS = [f'{number:032x}' for number in range(4)]
_USING, _REMOVING = 8, 4
_SECONDS = 60
_KINDS = ('prune', 'remove', 'make_room', 'clean')


class EvictionTest(harness.DrillTestCase):

    def test_eviction_against_use(self):
        """Bases are used and given back while others remove what they can."""
        store = self.new_store()
        for key in _KEYS:
            samples.publish(store, key)
        until = time.monotonic() + _SECONDS
        total = collections.Counter()
        for counts in self._run(
                [(_use, store.path, until, harness.SEED + number)
                 for number in range(_USING)]
                + [(_remove, store.path, until, _KINDS[number % len(_KINDS)])
                   for number in range(_REMOVING)]):
            total.update(counts[0])
        self.assertEqual([], os.listdir(store.folder('builds')))
        for key in store.keys():
            store.get(key).verify()
            self.assertEqual([], store.users(key))
        self.figures(users=_USING, removers=_REMOVING, seconds=_SECONDS,
                     seed=harness.SEED, uses=total['uses'],
                     built_again=total['built'], removed=total['removed'],
                     refused_as_in_use=total['refused'],
                     used_ones_removed=total['lost'])
        self.assertEqual(0, total['lost'])
        for name in ('uses', 'built', 'removed', 'refused'):
            self.assertGreater(total[name], 0, name)

    def _run(self, tasks):
        """Run each task in a process of its own; return their answers."""
        context = multiprocessing.get_context('spawn')
        answers = context.Queue()
        processes = [context.Process(target=_answer, args=(answers, task))
                     for task in tasks]
        for process in processes:
            process.start()
            self.addCleanup(process.kill)
        found = [answers.get(timeout=900) for _process in processes]
        for process in processes:
            process.join()
        self.assertEqual([], [text for text in found if type(text) is str])
        return found


def _answer(answers, task):
    function, *arguments = task
    try:
        answers.put((function(*arguments),))
    except BaseException:
        answers.put(traceback.format_exc())


def _use(path, until, seed):
    """Use bases as instances do, building those that are not there."""
    store = basestore.Store(path)
    chance = random.Random(seed)
    counts = collections.Counter()
    user = f'instance-{seed}'
    while time.monotonic() < until:
        key = chance.choice(_KEYS)
        try:
            found = store.use(key, user)
        except exception.BaseNotFound:
            with store.lock('build', key):
                if store.get(key) is None:
                    _publish(store, key)
                    counts['built'] += 1
            continue
        counts['uses'] += 1
        # for as long as it is used, it is what it was
        with open(found.file(basefiles.ROOT_PMEM), 'rb') as f:
            inode = os.fstat(f.fileno()).st_ino
        for _look in range(chance.randrange(1, 5)):
            time.sleep(0.01)
            try:
                if os.stat(found.file(basefiles.ROOT_PMEM)).st_ino != inode:
                    counts['lost'] += 1
            except FileNotFoundError:
                counts['lost'] += 1
        store.release(key, user)
    return counts


def _publish(store, key):
    """Publish a base, with the key's lock held."""
    with store.build_folder(key) as folder:
        target = os.path.join(folder, 'base')
        os.mkdir(target)
        samples.write_base(target, key)
        store.publish(target, key)


def _remove(path, until, kind):
    """Remove bases in one of the ways that there are, again and again."""
    room._GRACE_S = 0
    store = basestore.Store(path)
    counts = collections.Counter()
    while time.monotonic() < until:
        try:
            if kind == 'prune':
                counts['removed'] += len(store.prune(0))
            elif kind == 'make_room':
                counts['removed'] += len(room.make_room(
                    store, 1, store.size_bytes()))
            elif kind == 'clean':
                builder.clean(store)
            else:
                for key in store.keys():
                    store.remove(key)
                    counts['removed'] += 1
        except (exception.BaseInUse, exception.StoreUnusable):
            counts['refused'] += 1
        time.sleep(0.02)
    return counts
