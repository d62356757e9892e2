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

"""Disks under a base store that are full, that fail, or that have no locks."""

import collections
import errno
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import types

import testtools

from nova_flexmem.build import builder
from nova_flexmem import exception
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore
from nova_flexmem.store import room
from tests.drills import faulty
from tests.drills import harness
from tests.functional import harness as functional
from tests.unit.image import samples

_KEY, _OTHER = 'a' * 32, 'b' * 32
_USER, _NAME = 'an-instance', 'an-image'

#: What a message must say: the way out, by the cause.
_WAYS_OUT = {errno.ENOSPC: 'image prune', errno.EIO: 'another disk'}

#: By how much filesystems grow until a build fits.
_STEP_MIB = 8

#: The appliance takes 400 MiB.
_SMALL_FOR_APPLIANCE_MIB = (16, 200)

#: What may be left of an appliance that could not be made.
_LITTLE_BYTES = 1 << 20

_DISK_MIB = 16

#: In names, with what re.escape() adds: of a build's folder, of libguestfs.
_RANDOM = re.compile(r'(?<=[0-9a-f]{32}\\\.)[0-9a-f]{8}$'
                     r'|(?<=^libguestfs)\w+$')

#: Linux writes 6 times to a SCSI disk before it gives up.
_MORE_THAN_RETRIES = 8


def _publish(store):
    if store.get(_OTHER) is None:
        with store.reporting():
            samples.publish(store, _OTHER)


def _remove(store):
    store.release(_KEY, _USER)
    store.remove(_KEY)


def _prune(store):
    store.release(_KEY, _USER)
    store.prune(0)


#: What is done with a base that has a user and a name.
_ACTS = {
    'open': lambda store: basestore.Store(f'{store.path}.new'),
    'publish': _publish,
    'name': lambda store: store.set_name('another', _KEY),
    'use': lambda store: store.use(_KEY, 'another'),
    'verify': lambda store: store.get(_KEY).verify(),
    'look': lambda store: (store.key_named(_NAME), store.unused_s()[_KEY]),
    'release': lambda store: store.release(_KEY, _USER),
    'remove': _remove,
    'prune': _prune,
}

#: What must be possible on a full disk.
_WITHOUT_SPACE = ('verify', 'look', 'release', 'remove', 'prune')


class ActsTest(harness.DrillTestCase):
    """All but builds; from some operation on all of them fail."""

    def setUp(self):
        super().setUp()
        self.disk = self.enterContext(faulty.Mounted(
            self.new_folder(), self.new_folder()))

    def test_store_on_a_full_disk(self):
        self._at_operations(errno.ENOSPC, faulty.SPACE)

    def test_store_on_a_failing_disk(self):
        self._at_operations(errno.EIO, faulty.DISK)

    def _at_operations(self, number, operations):
        total, points, errors, wrong = 0, 0, 0, []
        for name, act in _ACTS.items():
            count = self._count(act, operations)
            total += count
            for after in self._points(count):
                store = self._store()
                self.disk.fail(faulty.Fault(number, operations, after))
                error = _error(act, store)
                self.disk.fail()
                why = _why_badly_told(error, number, store.path)
                if error and number == errno.ENOSPC and (
                        name in _WITHOUT_SPACE):
                    why = 'it took space'
                why = why or _why_badly_done(store, name, error, number)
                if why:
                    wrong.append((name, after, why, error))
                self._remove(store)
                points += 1
                errors += error is not None
        self.figures(operations=total, points=points, seed=harness.SEED,
                     errors=errors, wrong=len(wrong))
        self.assertEqual([], wrong)
        self.assertGreater(errors, 0)

    def _count(self, act, operations):
        """Return how many of some operations an act takes."""
        store = self._store()
        self.disk.fail()
        act(store)
        counts = self.disk.counts()
        self._remove(store)
        return sum(counts.get(name, 0) for name in operations)

    def _points(self, count):
        """Return all numbers below count, or both ends and random ones."""
        if count <= harness.POINTS:
            return range(count)
        return [0, count - 1, *self.random.sample(
            range(1, count - 1), harness.POINTS - 2)]

    def _store(self):
        """Return a new Store on the disk, with a base in it."""
        store = basestore.Store(tempfile.mkdtemp(dir=self.disk.path))
        self.empty = harness.traces(store)
        samples.publish(store, _KEY)
        store.set_name(_NAME, _KEY)
        store.use(_KEY, _USER)
        os.utime(store.get(_KEY).file(basefiles.KERNEL))  # to be read again
        return store

    def _remove(self, store):
        """Remove what must be there; see that nothing else is."""
        for key in (_KEY, _OTHER):
            for user in store.recorded_users(key):
                store.release(key, user)
            store.remove(key)
        self.assertEqual(self.empty, harness.traces(store))
        shutil.rmtree(store.path)


def _error(act, store):
    """Return what of ours an act raises, or None."""
    try:
        act(store)
    except exception.FlexMemException as e:
        return e
    return None


def _why_badly_told(error, number, path):
    """Return what an error does not say, or None."""
    if error is None:
        return None
    wanted = [path, os.strerror(number)]
    if not isinstance(error, exception.BaseDamaged):
        wanted.append(_WAYS_OUT[number])
    missing = [part for part in wanted if part not in str(error)]
    return f'it does not say {missing}' if missing else None


def _why_badly_done(store, name, error, number):
    """Return what is wrong in a store when the disk is well again, or None.

    A disk that fails for good lets no record be taken back. One too many keeps
    a base; Nova drops it with the instance.
    """
    builder.clean(store)
    if os.listdir(store.folder('builds')):
        return 'leftovers'
    users = set(store.recorded_users(_KEY))
    if name == 'use' and error and users != {_USER} and not (
            number == errno.EIO and users == {_USER, 'another'}):
        return 'recorded as used'
    if name == 'name' and store.key_named('another') not in (None, _KEY):
        return 'named wrongly'
    for key in store.keys():
        store.get(key).verify()
    if error:
        _ACTS[name](store)
    return None


class BuildsTest(harness.DrillTestCase):
    """Builds on a disk that has libguestfs's appliance too."""

    def setUp(self):
        super().setUp()
        self.image = harness.image()
        folder = self.new_folder()
        subprocess.run(['cp', '-a', '--sparse=always',
                        os.path.join(functional.CACHE, 'appliance'), folder],
                       check=True)
        self.appliance = os.path.join(folder, 'appliance')
        self.disk = self.enterContext(faulty.Mounted(
            folder, self.new_folder()))
        store = self._store()
        self.disk.fail()
        code, _out, error = self.command(store, 'build', self.image)
        self.assertEqual(0, code, error)
        self.counts = self.disk.counts()
        self.asked = collections.Counter()
        for operation, path, count in self.disk.files():
            self.asked[operation, _pattern(path)] += count
        key, = store.keys()
        self.files = store.get(key).manifest.files
        # of a build that came to nothing, for the next one to take over
        self.records = {f'uses/{key}', f'uses/{key}.clock'}

    def _store(self):
        """Return a new, empty Store on the disk."""
        path = tempfile.mkdtemp(dir=self.disk.path)
        os.symlink(os.path.join(self.disk.path, 'appliance'),
                   os.path.join(path, 'appliance'))
        return basestore.Store(path)

    def test_build_on_a_full_disk(self):
        self._build_at(self._faults(errno.ENOSPC, faulty.SPACE))

    def test_build_on_a_failing_disk(self):
        self._build_at(self._faults(errno.EIO, faulty.DISK))

    def test_build_where_a_file_gets_no_space(self):
        """Each file or folder that it makes: at first, and at last."""
        self._build_at([
            faulty.Fault(errno.ENOSPC, (operation,), after, path=path)
            for (operation, path), count in self.asked.items()
            for after in sorted({0, count - 1})])

    def test_build_where_one_operation_fails(self):
        """The first of its kind or the last, and all after it."""
        faults = [faulty.Fault(errno.EIO, (name,), after)
                  for name in faulty.DISK if name in self.counts
                  for after in {0, self.counts[name] - 1}]
        self._build_at(self.random.sample(
            faults, min(harness.POINTS // 2, len(faults))))

    def _faults(self, number, operations):
        """Return faults from an operation on, and of one operation alone.

        The last one is of what programs in the appliance do not notice.
        """
        count = sum(self.counts.get(name, 0) for name in operations)
        points = [0, count - 1, *self.random.sample(
            range(count), max(0, harness.POINTS // 2 - 3))]
        return [faulty.Fault(number, operations, after,
                             times=(sys.maxsize, 1)[index % 2])
                for index, after in enumerate(points)] + [
                    faulty.Fault(number, ('write',), 1, path='/root.pmem',
                                 times=_MORE_THAN_RETRIES)]

    def _build_at(self, faults):
        """Build with each of the faults, and see what comes of it."""
        published, slowest_s, wrong = 0, 0.0, []
        for fault in faults:
            store = self._store()
            empty = set(harness.traces(store))
            made = _tree(self.appliance)
            self.disk.fail(fault)
            code, _out, error = self.command(store, 'build', self.image)
            failed = 'failed' in self.disk.counts()
            self.disk.fail()
            slowest_s = max(slowest_s,
                            functional.wait_for_helpers_to_end(store))
            self.assertEqual(0, self.command(store, 'list')[0])
            found = set(harness.traces(store)) - empty
            files = [store.get(key).manifest.files for key in store.keys()]
            if files == [self.files]:
                published += 1
                self.assertEqual(0, self.command(store, 'verify', '--all')[0])
            elif files or found - self.records or not failed:
                wrong.append((fault, code, error, files, found))
            if code and not self._is_told(fault, store, error):
                wrong.append((fault, code, error))
            if _tree(self.appliance) != made:
                wrong.append((fault, _tree(self.appliance) ^ made))
            shutil.rmtree(store.path)
        self.figures(operations=sum(self.counts.values()),
                     points=len(faults), seed=harness.SEED,
                     published=published, wrong=len(wrong),
                     helpers_ended_within_s=round(slowest_s, 2))
        self.assertEqual([], wrong)

    def _is_told(self, fault, store, error):
        """Return whether an error says what it can.

        What fails for a moment, or for one file alone, is in the words of a
        helper program alone.
        """
        named = store.path in error or self.image in error
        passing = fault.path or fault.times < sys.maxsize
        return named and (passing or os.strerror(fault.number) in error)


def _pattern(path):
    """Return what matches a path in a store, whatever is random in it."""
    parts = path.split('/')[2:]
    return '/' + '/'.join(
        _RANDOM.sub('[^/]*', re.escape(part)) for part in parts) + '$'


def _tree(folder):
    """Return all paths in a folder."""
    return {os.path.join(path, name) for path, folders, names
            in os.walk(folder) for name in (*folders, *names)}


class FullTest(harness.DrillTestCase):
    """Filesystems that are really full."""

    def _tmpfs(self, size_mib):
        return self.mount('-t', 'tmpfs', '-o', f'size={size_mib}m', 'drill')

    def _ext4(self, size_mib):
        path = os.path.join(self.new_folder(), 'ext4')
        with open(path, 'xb') as f:
            f.truncate(size_mib << 20)
        # nothing is kept for root, who runs this
        subprocess.run(['mkfs.ext4', '-q', '-m', '0', path], check=True)
        return self.mount('-o', 'loop', path)

    def test_build_on_a_small_tmpfs(self):
        self._build_until_it_fits(
            (size_mib, functional.store_at(self._tmpfs(size_mib)))
            for size_mib in itertools.count(1, _STEP_MIB))

    def test_build_on_a_small_ext4(self):
        self._build_until_it_fits(
            (size_mib, functional.store_at(self._ext4(size_mib)))
            for size_mib in itertools.count(2, _STEP_MIB))

    def test_build_beside_the_appliance(self):
        """All that is written during a build is on the disk that is full."""
        harness.image()  # the appliance has been made
        made = os.path.join(functional.CACHE, 'appliance')
        made_mib = room.allocated_bytes(made) >> 20
        store = basestore.Store(self._tmpfs(made_mib + _STEP_MIB))
        subprocess.run(['cp', '-a', '--sparse=always', made, store.path],
                       check=True)

        def grown():
            for size_mib in itertools.count(_STEP_MIB, _STEP_MIB):
                subprocess.run(
                    ['mount', '-o', f'remount,size={made_mib + size_mib}m',
                     store.path], check=True)
                yield size_mib, store

        self._build_until_it_fits(grown())

    def test_appliance_on_a_small_tmpfs(self):
        """It is made there, as on a new host."""
        wrong = []
        for size_mib in _SMALL_FOR_APPLIANCE_MIB:
            store = basestore.Store(self._tmpfs(size_mib))
            empty = harness.traces(store)
            _code, _out, error = self.command(store, 'build', harness.image())
            why = self._why_wrong(store, error, empty)
            if why or store.size_bytes() > _LITTLE_BYTES:
                wrong.append((size_mib, why, error, store.size_bytes()))
        self.figures(sizes=len(_SMALL_FOR_APPLIANCE_MIB), wrong=len(wrong))
        self.assertEqual([], wrong)

    def _build_until_it_fits(self, stores):
        too_small, wrong = 0, []
        for size_mib, store in stores:
            empty = harness.traces(store)
            code, _out, error = self.command(store, 'build', harness.image())
            if code == 0:
                break
            too_small += 1
            why = self._why_wrong(store, error, empty)
            if why:
                wrong.append((size_mib, why, error))
        self.figures(sizes_too_small=too_small, fits_in_mib=size_mib,
                     wrong=len(wrong))
        self.assertEqual([], wrong)
        store.ensure_verified(store.keys()[0])

    def _why_wrong(self, store, error, empty):
        """Return what is wrong after a build that met the end of a disk."""
        functional.wait_for_helpers_to_end(store)
        self.assertEqual(0, self.command(store, 'list')[0])
        left = harness.traces(store)
        return (_why_badly_told(error, errno.ENOSPC, store.path)
                or (left != empty and f'left: {left}'))

    def test_space_from_a_full_disk(self):
        """Bases go from a disk on which not even a folder can be made."""
        for words in (('prune', '--older-than', '0'), ('remove', _KEY)):
            store = functional.store_at(self._ext4(_DISK_MIB))
            samples.publish(store, _KEY)
            self._fill(store.path)
            code, _out, error = self.command(store, *words)
            self.assertEqual(0, code, error)
            self.assertEqual([], store.keys())
            samples.publish(store, _KEY)

    def _fill(self, path):
        for make in (self._write, os.mkdir):
            with testtools.ExpectedException(OSError, '.*No space left'):
                for number in itertools.count():
                    make(os.path.join(path, f'{make.__name__}{number}'))

    def _write(self, path):
        with open(path, 'xb', buffering=0) as f:
            while f.write(bytes(4096)):
                pass


class WithoutLocksTest(harness.DrillTestCase):

    def test_filesystem_without_locks(self):
        disk = self.enterContext(faulty.Mounted(
            self.new_folder(), self.new_folder(), locks=False))
        store = types.SimpleNamespace(path=disk.path)
        for words in (('build', harness.image()), ('list',), ('prune',)):
            code, _out, error = self.command(store, *words)
            self.assertEqual(1, code)
            for part in (disk.path, os.strerror(errno.ENOLCK),
                         '[flexmem] store_path'):
                self.assertIn(part, error)
        for name in ('bases', 'builds'):
            self.assertEqual([], os.listdir(os.path.join(disk.path, name)))
