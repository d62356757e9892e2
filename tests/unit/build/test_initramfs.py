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

import errno
import hashlib
import os
import resource
import subprocess
import types

import fixtures
import testtools

from nova_flexmem.build import initramfs
from nova_flexmem import exception
from nova_flexmem import guest
from nova_flexmem import process

_APPLETS = """\
cat chown chroot echo grep insmod ln mkdir mount mv od poweroff readlink \
rm sh sleep stat switch_root sync tr""".split()

_LISTING = '\n'.join([
    '.', 'bin', 'bin/busybox', *sorted(f'bin/{name}' for name in _APPLETS),
    'dev', 'init', 'modules', 'modules/b.ko', 'modules/ext4.ko',
    'modules/order', 'proc', 'run', 'sys', ''])

_MODULES = (('ext4', b'\x7fELF one'), ('b', b'\x7fELF two'))


class InitramfsTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        if not process.available('cpio'):
            self.skipTest('cpio is not installed')
        self.folder = self.useFixture(fixtures.TempDir()).path

    def build(self, name='archive', modules=_MODULES):
        if not os.path.exists(initramfs.BUSYBOX):
            self.skipTest('busybox-static is not installed')
        path = os.path.join(self.folder, name)
        initramfs.build(path, modules, self.folder)
        return path

    def cpio(self, path, *words):
        return subprocess.run(['cpio', '--quiet', '-i', '-F', path, *words],
                              check=True, timeout=60,
                              stdout=subprocess.PIPE).stdout

    def assert_refused(self, busybox):
        self.useFixture(fixtures.MonkeyPatch(
            'nova_flexmem.build.initramfs.BUSYBOX', busybox))
        e = self.assertRaises(
            exception.ProgramFailed, initramfs.build,
            os.path.join(self.folder, 'x'), (), self.folder)
        self.assertIn(busybox, str(e))
        self.assertIn('install busybox-static', str(e))

    def test_listing(self):
        path = self.build()
        self.assertEqual(_LISTING, self.cpio(path, '-t').decode())
        self.assertEqual(['archive'], os.listdir(self.folder))

    def test_modes_and_owner(self):
        lines = self.cpio(self.build(), '-t', '-v', '-n').decode()
        for line in lines.splitlines():
            self.assertEqual(['0', '0'], line.split()[2:4], line)
            name = line.split(' -> ')[0].split()[-1]
            if name in ('init', 'bin/busybox'):
                self.assertTrue(line.startswith('-rwxr-xr-x'), line)

    def test_content(self):
        path = self.build()
        self.assertEqual(b'ext4.ko\nb.ko\n', self.cpio(
            path, '--to-stdout', 'modules/order'))
        self.assertEqual(b'\x7fELF two', self.cpio(
            path, '--to-stdout', 'modules/b.ko'))
        self.assertTrue(self.cpio(path, '--to-stdout', 'init').startswith(
            b'#!/bin/busybox sh\n'))

    def test_same_bytes_again_and_small(self):
        old_umask = os.umask(0o077)
        try:
            one = self.build('one')
        finally:
            os.umask(old_umask)
        two = self.build('two')
        digests = set()
        for path in (one, two):
            with open(path, 'rb') as f:
                digests.add(hashlib.file_digest(f, 'sha256').hexdigest())
        self.assertEqual(1, len(digests))
        self.assertLess(os.path.getsize(one), 3 << 20)

    def test_init_is_a_shell_script_without_errors(self):
        if not os.path.exists(initramfs.BUSYBOX):
            self.skipTest('busybox-static is not installed')
        init = os.path.join(os.path.dirname(guest.__file__), 'init')
        subprocess.run([initramfs.BUSYBOX, 'sh', '-n', init], check=True)

    def test_without_room_no_source_is_blamed(self):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        e = self.assertRaises(OSError, self.build)
        self.assertEqual((errno.EFBIG, None), (e.errno, e.filename))

    def assert_noticed(self, spoil=lambda _root: None, left_out=None):
        """Have something happen to what cpio reads."""
        def run(*argv, stdin=None, **how):
            if '-o' in argv:
                spoil(os.path.join(self.folder, 'initramfs'))
                stdin = '\n'.join(name for name in stdin.splitlines()
                                  if name != left_out)
            return process.run(*argv, stdin=stdin, **how)

        self.patch(initramfs, 'process', types.SimpleNamespace(
            run=run, Limits=process.Limits))
        e = self.assertRaises(exception.ProgramFailed, self.build)
        self.assertIn('could not read all', str(e))
        self.assertIn(os.path.join(self.folder, 'archive'), str(e))

    def test_zeros_for_what_cpio_can_not_read(self):
        def spoil(root):
            for name in ('modules/b.ko', 'modules/order'):
                with open(os.path.join(root, name), 'r+b') as f:
                    f.seek(4)
                    f.write(b'\0')

        self.assert_noticed(spoil)

    def test_what_cpio_leaves_out(self):
        self.assert_noticed(left_out='bin/mount')

    def test_without_busybox(self):
        self.assert_refused('/nowhere/busybox')

    def test_with_a_dynamic_busybox(self):
        dynamic = os.path.join(self.folder, 'busybox')
        with open(dynamic, 'wb') as f:
            f.write(b'\x7fELF...../lib64/ld-linux-x86-64.so.2')
        self.assert_refused(dynamic)
