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

import json
import os

import fixtures
import testtools

from nova_flexmem.build import bootfiles
from nova_flexmem.build import handover
from nova_flexmem.build import initramfs
from nova_flexmem import exception
from nova_flexmem.guest import domain
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore
from nova_flexmem.store import locks
from tests.unit.image import samples

_KEY = 'a' * 32
_MODULES = (('ext4', b'\x7fELF one'), ('overlay', b'\x7fELF other'))


class BootFilesTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        if not os.path.exists(initramfs.BUSYBOX):
            self.skipTest('busybox-static is not installed')
        self.store = basestore.Store(os.path.join(
            self.useFixture(fixtures.TempDir()).path, 'store'))
        setup = bytearray(b's' * 3 * 512)
        setup[0x1f1] = 2  # setup_sects
        self.image = bytes(setup) + b'proper' * 1000

    def publish(self, boot_id, init=b'#!/bin/busybox sh\n', **facts):
        """Publish a base that has another version's /init."""
        with (self.store.lock(locks.BUILD, _KEY),
              self.store.build_folder(_KEY) as folder):
            target = os.path.join(folder, 'base')
            os.mkdir(target)
            samples.write_base(target, _KEY)
            for name in (*basefiles.FILES[1:], basefiles.MANIFEST):
                os.unlink(os.path.join(target, name))
            scripts = os.path.join(folder, 'scripts')
            os.mkdir(scripts)
            for name in initramfs._SCRIPTS:
                with open(os.path.join(scripts, name), 'wb') as f:
                    f.write(init)
            with fixtures.MonkeyPatch('nova_flexmem.build.initramfs._GUEST',
                                      scripts):
                handover.write(target, self.image, initramfs.pack(_MODULES))
            samples.write_manifest(target, _KEY, boot_id=boot_id, **facts)
            self.store.publish(target, _KEY)
        return self.store.require(_KEY)

    def made(self):
        return sorted(os.listdir(self.store.folder('boot')))

    def assert_made_by_this_version(self, base):
        folder = bootfiles.folder(self.store, base)
        self.assertNotEqual(base.path, folder)
        contents = []
        for name in ('kernel', 'initramfs'):
            with open(os.path.join(folder, name), 'rb') as f:
                contents.append(f.read())
        image, archive = handover.unpack(*contents)
        self.assertEqual(self.image, image[:len(self.image)])
        self.assertEqual(initramfs.pack(_MODULES), archive)

    def test_a_base_of_this_version_has_its_own(self):
        base = self.publish(bootfiles.boot_id())
        self.assertFalse(bootfiles.are_ready(self.store, _KEY))
        self.assertEqual(_KEY, bootfiles.ensure(self.store, _KEY).key)
        self.assertTrue(bootfiles.are_ready(self.store, _KEY))
        self.assertEqual(base.path, bootfiles.folder(self.store, base))
        self.assertEqual([], self.made())

    def test_older_bases_get_the_new_ones_once(self):
        for boot_id, facts in (('', {'format': 1}), ('0123456789abcdef', {})):
            base = self.publish(boot_id, **facts)
            self.assertFalse(bootfiles.are_ready(self.store, _KEY))
            bootfiles.ensure(self.store, _KEY)
            self.assert_made_by_this_version(base)
            self.assertTrue(bootfiles.are_ready(self.store, _KEY))
            path = os.path.join(bootfiles.folder(self.store, base), 'kernel')
            inode = os.stat(path).st_ino
            bootfiles.ensure(self.store, _KEY)
            self.assertEqual(inode, os.stat(path).st_ino)
            self.assertEqual([], os.listdir(self.store.folder('builds')))
            base.verify()  # what it was built with stays
            self.store.remove(_KEY)
            self.assertEqual([], self.made())

    def test_guests_boot_them(self):
        base = self.publish('')
        folder = bootfiles.folder(self.store, base)
        boot = domain.Boot.of(base, folder)
        self.assertEqual(
            (base.file(basefiles.ROOT_PMEM), f'{folder}/kernel',
             f'{folder}/initramfs'), boot.files)

    def test_touched_cut_or_removed_ones_are_made_again(self):
        base = self.publish('')
        folder = bootfiles.folder(self.store, base)
        for damage in (lambda path: os.truncate(path, 5), os.utime, os.unlink):
            for name in ('kernel', 'initramfs'):
                bootfiles.ensure(self.store, _KEY)
                damage(os.path.join(folder, name))
                self.assertFalse(bootfiles.are_ready(self.store, _KEY))
                bootfiles.ensure(self.store, _KEY)
                self.assert_made_by_this_version(base)

    def test_they_are_made_again_after_the_host_booted(self):
        """A disk that lost bytes meanwhile is not believed."""
        base = self.publish('')
        bootfiles.ensure(self.store, _KEY)
        state = os.path.join(bootfiles.folder(self.store, base), 'state.json')
        with open(state) as f:
            recorded = json.load(f)
        with open(state, 'w') as f:
            json.dump(['another boot', *recorded[1:]], f)
        self.assertFalse(bootfiles.are_ready(self.store, _KEY))
        bootfiles.ensure(self.store, _KEY)
        self.assertTrue(bootfiles.are_ready(self.store, _KEY))

    def test_from_a_damaged_base(self):
        base = self.publish('')
        path = base.file(basefiles.KERNEL)
        os.chmod(path, 0o644)
        with open(path, 'r+b') as f:
            f.write(b'x')
        self.assertRaises(exception.BaseDamaged, bootfiles.ensure, self.store,
                          _KEY)
        self.assertEqual([], self.made())

    def test_from_what_is_none(self):
        samples.publish(self.store, _KEY)
        e = self.assertRaises(exception.BaseDamaged, bootfiles.ensure,
                              self.store, _KEY)
        self.assertIn('not one of a base', str(e))
