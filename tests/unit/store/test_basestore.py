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

import mmap
import os
import shutil
import stat
import subprocess
import sys

import fixtures

from nova_flexmem import exception
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore
from tests.unit.image import samples
from tests.unit.store import store_test

_A = store_test.KEY
_AB = store_test.OTHER_KEY
_USER = store_test.USER

#: A process that maps a file until its input ends.
_MAP = '''
import mmap, sys
with open(sys.argv[-1], 'rb') as f:
    mapped = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
print(flush=True)
sys.stdin.read()
'''


def _die_building(path, key):
    opened = basestore.Store(path)
    with opened.lock('build', key), opened.build_folder(key) as folder:
        os.mkdir(os.path.join(folder, 'base'))
        samples.write_base(os.path.join(folder, 'base'), key)
        os._exit(9)


class PublishTest(store_test.StoreTest):

    def test_appears_whole_and_read_only(self):
        path = samples.publish(self.store, _A)
        self.assertEqual([_A], self.store.keys())
        self.assertEqual([], self.names('builds'))
        for name in (*basefiles.FILES, basefiles.MANIFEST):
            mode = os.stat(os.path.join(path, name)).st_mode
            self.assertEqual(0o444, stat.S_IMODE(mode), name)
        found = self.store.get(_A)
        self.assertEqual(_A, found.key)
        found.verify()

    def test_build_folder_goes_on_any_error(self):
        def fail():
            with self.store.build_folder(_A) as folder:
                self.assertEqual(0o700, stat.S_IMODE(os.stat(folder).st_mode))
                samples.write_base(folder, _A)
                raise KeyboardInterrupt

        self.assertRaises(KeyboardInterrupt, fail)
        self.assertEqual([], self.names('builds'))
        self.assertEqual([], self.store.keys())

    def test_half_a_base_is_not_published(self):
        def fail():
            with self.store.build_folder(_A) as folder:
                samples.write_base(folder, _A)
                os.unlink(os.path.join(folder, basefiles.INITRAMFS))
                self.store.publish(folder, _A)

        self.assertRaises(exception.StoreUnusable, fail)
        self.assertEqual([], self.store.keys())

    def test_a_whole_base_is_not_replaced(self):
        samples.publish(self.store, _A)
        before = self.store.get(_A).states()
        samples.publish(self.store, _A, content=b'other')
        self.assertEqual(before, self.store.get(_A).states())
        self.assertEqual([], self.names('builds'))

    def test_a_damaged_base_is_replaced_while_it_is_in_use(self):
        for damage in (lambda: self.flip(_A, basefiles.ROOT_PMEM),
                       lambda: self.flip(_A, basefiles.INITRAMFS),
                       lambda: samples.truncate(self.store, _A,
                                                basefiles.MANIFEST, 10)):
            samples.publish(self.store, _A)
            self.store.use(_A, _USER)
            damage()
            self.assertRaises(exception.BaseDamaged, self.store.use, _A,
                              _USER)
            samples.publish(self.store, _A)
            self.store.use(_A, _USER)
            self.assertEqual([_USER], self.store.users(_A))
            self.assertEqual([], self.names('builds'))

    def test_key_depends_on_the_layout_and_the_image(self):
        keys = {basestore.key_of(root_sha256, image_sha256, scope)
                for root_sha256 in ('0' * 64, '1' * 64)
                for image_sha256 in ('0' * 64, '1' * 64)
                for scope in ('', 'one', 'other')}
        self.assertEqual(12, len(keys))

    def test_keys_of_earlier_versions(self):
        self.assertEqual('e8cd25b8097bbc465e6eac5a6d6d5deb',
                         basestore.image_key('0' * 64, 'auto'))
        self.assertEqual(3, len({
            basestore.image_key('0' * 64, 'auto', scope)
            for scope in ('', 'one', 'other')}))


class BuiltFromTest(store_test.StoreTest):

    _IMAGE = '5' * 64

    def publish(self, key, **facts):
        samples.publish(self.store, key, **{
            'image_sha256': self._IMAGE, 'rootfs_asked': 'auto'} | facts)

    def test_none(self):
        self.publish(_A, image_sha256='6' * 64)
        self.publish(_AB, scope='a-project')
        self.assertIsNone(self.store.built_from(self._IMAGE, 'auto'))
        self.assertIsNone(self.store.built_from(self._IMAGE, 'auto', 'other'))

    def test_root_filesystem_asked_for(self):
        self.publish(_A)  # auto gave erofs
        for asked, key in (('auto', _A), ('erofs', _A), ('ext4', None)):
            base = self.store.built_from(self._IMAGE, asked)
            self.assertEqual(key, base and base.key, asked)
        self.publish(_AB, rootfs_asked='ext4', rootfs='ext4')
        self.assertEqual(_AB, self.store.built_from(self._IMAGE, 'ext4').key)
        self.assertEqual(_A, self.store.built_from(self._IMAGE, 'auto').key)

    def test_of_format_1(self):
        for asked in ('auto', 'ext4'):
            key = basestore.image_key(self._IMAGE, asked)
            self.publish(key, format=1, rootfs_asked='')
            self.assertEqual(key,
                             self.store.built_from(self._IMAGE, asked).key)
        self.assertIsNone(self.store.built_from(self._IMAGE, 'erofs'))

    def test_of_two_layouts_the_one_in_use(self):
        self.publish(_A, built_at='2026-01-01T00:00:00+00:00')
        self.publish(_AB, built_at='2026-02-01T00:00:00+00:00')
        self.assertEqual(_AB, self.store.built_from(self._IMAGE, 'auto').key)
        self.store.use(_A, _USER)
        self.assertEqual(_A, self.store.built_from(self._IMAGE, 'auto').key)

    def test_a_damaged_one_is_passed_over(self):
        for damage in (
                lambda: self.flip(_A, basefiles.ROOT_PMEM),
                lambda: samples.truncate(self.store, _A, basefiles.MANIFEST,
                                         10)):
            self.publish(_A)
            self.store.use(_A, _USER)
            damage()
            self.assertIsNone(self.store.built_from(self._IMAGE, 'auto'))
            self.publish(_AB, content=b'another layout')
            self.assertEqual(_AB,
                             self.store.built_from(self._IMAGE, 'auto').key)
            self.store.remove(_AB)


class FindTest(store_test.StoreTest):

    def test_by_the_beginning(self):
        for key in (_A, _AB):
            samples.publish(self.store, key)
        self.assertEqual(_A, self.store.find('aa'))
        self.assertEqual(_AB, self.store.find(_AB))
        self.assertRaises(exception.BaseAmbiguous, self.store.find, 'a')
        for beginning in ('b', '', '..', f'{_A}0', '*'):
            e = self.assertRaises(exception.BaseNotFound, self.store.find,
                                  beginning)
            self.assertIn(self.path, str(e))

    def test_what_is_no_base_is_not_listed(self):
        for name in ('lost+found', _A.upper(), f'{_A}.tmp'):
            os.mkdir(os.path.join(self.store.folder('bases'), name))
        self.assertEqual([], self.store.keys())

    def test_get_of_none(self):
        self.assertIsNone(self.store.get(_A))

    def test_get_of_a_torn_manifest(self):
        samples.publish(self.store, _A)
        samples.truncate(self.store, _A, basefiles.MANIFEST, 100)
        self.assertRaises(exception.BaseDamaged, self.store.get, _A)


class NameTest(store_test.StoreTest):

    def setUp(self):
        super().setUp()
        samples.publish(self.store, _A)
        samples.publish(self.store, _AB)

    def test_stands_for_one_base(self):
        self.assertIsNone(self.store.key_named('an-image'))
        self.store.set_name('an-image', _A)
        self.store.set_name('another', _A)
        self.assertEqual(_A, self.store.key_named('an-image'))
        self.assertEqual(['an-image', 'another'], self.store.names_of(_A))
        self.store.set_name('an-image', _AB)
        self.assertEqual(_AB, basestore.Store(self.path).key_named('an-image'))
        self.assertEqual(['another'], self.store.names_of(_A))

    def test_goes_with_its_base(self):
        self.store.set_name('an-image', _A)
        self.store.set_name('another', _AB)
        self.long_unused(_A)
        self.assertEqual([_A], self.store.prune(3600))
        self.assertIsNone(self.store.key_named('an-image'))
        self.assertEqual(_AB, self.store.key_named('another'))

    def test_of_a_base_that_is_not_there(self):
        self.assertRaises(exception.BaseNotFound, self.store.set_name,
                          'an-image', 'f' * 32)
        self.assertIsNone(self.store.key_named('an-image'))

    def test_of_a_base_that_went_behind_our_back(self):
        self.store.set_name('an-image', _A)
        shutil.rmtree(os.path.join(self.store.folder('bases'), _A))
        self.assertIsNone(self.store.key_named('an-image'))

    def test_of_an_older_format(self):
        """Instances run on it, and new ones share it with them."""
        samples.publish(self.store, 'f' * 32, format=1)
        self.store.set_name('an-image', 'f' * 32)
        self.assertEqual('f' * 32, self.store.key_named('an-image'))

    def test_of_a_damaged_base(self):
        """That is for the operator to see, not to be passed over."""
        self.store.set_name('an-image', _A)
        samples.truncate(self.store, _A, basefiles.MANIFEST, 10)
        self.assertEqual(_A, self.store.key_named('an-image'))
        self.assertRaises(exception.BaseDamaged, self.store.get, _A)

    def test_torn(self):
        self.store.set_name('an-image', _A)
        os.truncate(os.path.join(self.store.folder('names'), 'an-image'), 7)
        self.assertIsNone(self.store.key_named('an-image'))


class LeftoversTest(store_test.StoreTest):

    def test_of_a_killed_build_go(self):
        process = self.start(_die_building, self.path, _A)
        process.join()
        self.assertEqual(9, process.exitcode)
        self.assertEqual(1, len(self.names('builds')))
        self.assertEqual([], self.store.keys())
        self.store.clean()
        self.assertEqual([], self.names('builds'))

    def test_of_a_killed_removal_go(self):
        samples.publish(self.store, _A)
        os.mkdir(self.store.folder(f'builds/{_A}.1234'))
        os.rename(self.store.folder(f'bases/{_A}'),
                  self.store.folder(f'builds/{_A}.1234/removed'))
        self.store.clean()
        self.assertEqual([], self.names('builds'))

    def test_of_a_name_that_could_not_be_written(self):
        samples.publish(self.store, _A)

        def full(*_args):
            raise OSError(28, 'No space left on device')

        with fixtures.MonkeyPatch('os.fsync', full):
            self.assertRaises(exception.StoreUnusable, self.store.set_name,
                              'an-image', _A)
        self.assertIsNone(self.store.key_named('an-image'))
        for folder in ('names', 'builds'):
            self.assertEqual([], self.names(folder), folder)

    def test_a_running_build_is_left_alone(self):
        process = self.hold_lock(_A)
        with self.store.build_folder(_A), self.store.build_folder(_AB):
            self.store.clean()
            self.assertEqual([_A], [name.partition('.')[0]
                                    for name in self.names('builds')])
        process.kill()
        process.join()
        self.store.clean()


class RemoveTest(store_test.StoreTest):

    def setUp(self):
        super().setUp()
        self.base_path = samples.publish(self.store, _A)

    def test_nothing_is_left(self):
        self.store.ensure_verified(_A)
        self.store.set_name('an-image', _A)
        self.store.remove(_A)
        for folder in ('bases', 'builds', 'uses', 'verified', 'names'):
            self.assertEqual([], self.names(folder), folder)
        samples.publish(self.store, _A)  # and it can come back

    def test_used(self):
        self.store.use(_A, _USER)
        self.assertEqual([_USER], self.store.recorded_users(_A))
        e = self.assertRaises(exception.BaseInUse, self.store.remove, _A)
        self.assertIn(_USER, str(e))
        self.store.get(_A).verify()
        self.store.release(_A, _USER)
        self.store.release(_A, _USER)
        self.store.remove(_A)
        self.assertEqual([], self.store.keys())

    def test_mapped(self):
        path = os.path.join(self.base_path, basefiles.ROOT_PMEM)
        with open(path, 'rb') as f:
            mapped = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
        self.addCleanup(mapped.close)
        e = self.assertRaises(exception.BaseInUse, self.store.remove, _A)
        self.assertIn(f'process {os.getpid()}', str(e))
        self.assertEqual([], self.store.prune(0))
        mapped.close()
        self.assertEqual([_A], self.store.prune(0))

    def test_mapped_by_the_qemu_of_an_instance(self):
        """It counts once, and for as long as it is there."""
        self.store.use(_A, _USER)
        qemu = subprocess.Popen(
            [sys.executable, '-c', _MAP, 'qemu', '-uuid', _USER,
             os.path.join(self.base_path, basefiles.ROOT_PMEM)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(qemu.communicate)
        qemu.stdout.readline()
        self.assertEqual([_USER], self.store.users(_A))
        self.store.release(_A, _USER)
        self.assertEqual([f'process {qemu.pid}'], self.store.users(_A))

    def test_damaged(self):
        samples.truncate(self.store, _A, basefiles.MANIFEST, 0)
        self.store.remove(_A)
        self.assertEqual([], self.store.keys())

    def test_full_disk(self):
        """It is the way to have space again, and so can take none."""
        def full(path, *_args):
            if os.path.exists(path):
                raise OSError(17, 'File exists', path)
            raise OSError(28, 'No space left on device', path)

        for remove in (self.store.remove, lambda _key: self.store.prune(0)):
            with fixtures.MonkeyPatch('os.mkdir', full):
                remove(_A)
            self.assertEqual([], self.store.keys())
            self.assertEqual([], self.names('builds'))
            samples.publish(self.store, _A)

    def test_interrupted(self):
        """The base is there as a whole, with its records or without."""
        self.store.ensure_verified(_A)

        def fail(*_args):
            raise OSError(5, 'Input/output error')

        with fixtures.MonkeyPatch('os.rename', fail):
            self.assertRaises(exception.StoreUnusable, self.store.remove, _A)
        self.assertEqual([], self.store.prune(3600))
        self.store.use(_A, _USER).verify()


class PruneTest(store_test.StoreTest):

    def test_age(self):
        for key in (_A, _AB):
            samples.publish(self.store, key)
        self.long_unused(_A)
        self.assertEqual([_A], self.store.prune(3600))
        self.assertEqual([_AB], self.store.keys())
        self.assertEqual([_AB], self.store.prune(0))

    def test_a_used_base_of_any_age_stays(self):
        samples.publish(self.store, _A)
        self.store.use(_A, _USER)
        self.long_unused(_A)
        self.assertEqual(0.0, self.store.unused_s()[_A])
        for minimum_age_s in (0, 3600):
            self.assertEqual([], self.store.prune(minimum_age_s))
        self.store.get(_A).verify()

    def test_time_counts_from_the_end_of_the_last_use(self):
        samples.publish(self.store, _A)
        self.store.use(_A, _USER)
        self.long_unused(_A)
        self.store.release(_A, _USER)
        self.assertEqual([], self.store.prune(3600))
        self.assertLess(self.store.unused_s()[_A], 600)

    def test_an_old_image_just_built_stays(self):
        samples.publish(self.store, _A)
        self.assertEqual([], self.store.prune(3600))

    def test_records_lost(self):
        """Time out of use starts anew; a base is not removed by accident."""
        samples.publish(self.store, _A)
        os.rmdir(os.path.join(self.store.folder('uses'), _A))
        self.assertEqual([], self.store.prune(3600))
        self.assertEqual([_A], self.store.keys())
