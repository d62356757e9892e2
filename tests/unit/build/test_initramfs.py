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
import glob
import hashlib
import os
import resource
import subprocess

import fixtures
import testtools

from nova_flexmem.build import initramfs
from nova_flexmem import exception
from nova_flexmem import guest

_APPLETS = """\
awk cat chmod chown chroot cmp cpio echo find grep insmod ln mkdir mount mv \
od poweroff readlink reboot rm sed sh sleep stat switch_root sync tail umount \
uname xzcat zcat""".split()

_OF_OWN_KERNELS = """\
bls.awk candidates.sh clean.awk closure.awk constants menu.awk order.awk \
release.awk start.sh started.sh tried.sh""".split()

_LISTING = '\n'.join([
    '.', 'bin', *sorted(f'bin/{name}' for name in (*_APPLETS, 'busybox',
                                                   'kexec')),
    'dev', 'direct.sh', 'init', 'kexec',
    *(f'kexec/{name}' for name in _OF_OWN_KERNELS),
    'modules', 'modules/b.ko', 'modules/ext4.ko',
    'modules/order', 'proc', 'programs.sh', 'run', 'sys', ''])

_MODULES = (('ext4', b'\x7fELF one'), ('b', b'\x7fELF two'))

#: What "cpio -o -H newc --reproducible -R 0:0 -C 65536" wrote, of a tree that
#: has a symbolic link.
_GNU_ARCHIVE = (
    b'07070100000000000041ED0000000000000000000000036B0A5D21'
    b'00000000000000000000000000000000000000000000000200000000'
    b'.\x00'
    b'07070100000001000041ED00000000000000000000000200000000'
    b'00000000000000000000000000000000000000000000000800000000'
    b'modules\x00\x00\x00'
    b'07070100000002000081A400000000000000000000000100000000'
    b'00000008000000000000000000000000000000000000000D00000000'
    b'modules/b.ko\x00\x00\x7fELF two'
    b'07070100000003000081A400000000000000000000000100000000'
    b'00000008000000000000000000000000000000000000001000000000'
    b'modules/ext4.ko\x00\x00\x00\x7fELF one'
    b'07070100000004000081A400000000000000000000000100000000'
    b'0000000D000000000000000000000000000000000000000E00000000'
    b'modules/order\x00ext4.ko\nb.ko\n\x00\x00\x00'
    b'070701000000050000A1FF0000000000000000000000016B0A5D21'
    b'00000007000000000000000000000000000000000000000300000000'
    b'sh\x00\x00\x00\x00busybox\x00'
    b'070701000000000000000000000000000000000000000100000000'
    b'00000000000000000000000000000000000000000000000B00000000'
    b'TRAILER!!!\x00\x00').ljust(65536, b'\0')


class InitramfsTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path

    def build(self, name='archive', modules=_MODULES):
        if not os.path.exists(initramfs.BUSYBOX):
            self.skipTest('busybox-static is not installed')
        path = os.path.join(self.folder, name)
        with open(path, 'wb') as f:
            f.write(initramfs.pack(modules))
        return path

    def read(self, path):
        with open(path, 'rb') as f:
            return f.read()

    def cpio(self, path, *words):
        """Return what a program of others reads from an archive."""
        with open(path, 'rb') as f:
            return subprocess.run([initramfs.BUSYBOX, 'cpio', '-i', *words],
                                  stdin=f, check=True, timeout=60,
                                  stdout=subprocess.PIPE).stdout

    def assert_refused(self, busybox):
        self.useFixture(fixtures.MonkeyPatch(
            'nova_flexmem.build.initramfs.BUSYBOX', busybox))
        e = self.assertRaises(exception.ProgramFailed, initramfs.pack,
                              ())
        self.assertIn(busybox, str(e))
        self.assertIn('install busybox-static', str(e))

    def test_listing(self):
        path = self.build()
        self.assertEqual(_LISTING, self.cpio(path, '-t').decode())
        self.assertEqual(['archive'], os.listdir(self.folder))

    def test_modes_and_owner(self):
        for line in self.cpio(self.build(), '-t', '-v').decode().splitlines():
            self.assertEqual('0/0', line.split()[1], line)
            name = line.split(' -> ')[0].split()[-1]
            if name in ('init', 'bin/busybox', 'bin/kexec'):
                self.assertTrue(line.startswith('-rwxr-xr-x'), line)
            if name == 'bin/sh':
                self.assertTrue(line.endswith(' -> busybox'), line)
            if name in ('.', 'modules'):
                self.assertTrue(line.startswith('drwxr-xr-x'), line)

    def test_content(self):
        path = self.build()
        target = os.path.join(self.folder, 'unpacked')
        os.mkdir(target)
        with open(path, 'rb') as f:
            subprocess.run([initramfs.BUSYBOX, 'cpio', '-id'], stdin=f,
                           check=True, timeout=60, cwd=target,
                           stderr=subprocess.DEVNULL)
        for name, content in (
                ('modules/order', b'ext4.ko\nb.ko\n'),
                ('modules/b.ko', b'\x7fELF two'),
                ('bin/sh', self.read(initramfs.BUSYBOX)),
                ('init', self.read(os.path.join(
                    os.path.dirname(guest.__file__), 'init')))):
            self.assertEqual(content, self.read(os.path.join(target, name)))

    def test_same_bytes_again_and_small(self):
        digests = set()
        for name in ('one', 'two'):
            content = self.read(self.build(name))
            digests.add(hashlib.sha256(content).hexdigest())
        self.assertEqual(1, len(digests))
        self.assertLess(len(content), 3 << 20)

    def test_modules_are_read_again(self):
        self.assertEqual(_MODULES, initramfs.read_modules(
            self.read(self.build())))
        self.assertEqual((), initramfs.read_modules(
            self.read(self.build('none', modules=()))))

    def test_modules_of_an_archive_by_gnu_cpio(self):
        """As bases have it that were built before this package packed it."""
        self.assertEqual(_MODULES, initramfs.read_modules(_GNU_ARCHIVE))

    def test_archives_that_are_damaged(self):
        whole = self.read(self.build())
        order = whole.rindex(b'modules/order')
        for content, said in (
                (b'', 'byte 0'), (whole[:order - 8], 'no header'),
                (whole[:-200], 'byte'),
                (whole[:whole.index(b'\x7fELF two') + 3], 'cut short'),
                (whole.replace(b'modules/order', b'modules/ordre'),
                 'no modules/order'),
                (whole.replace(b'modules/b.ko', b'modules/c.ko'),
                 'no modules/b.ko')):
            e = self.assertRaises(ValueError, initramfs.read_modules, content)
            self.assertIn(said, str(e))

    def test_scripts_are_without_errors(self):
        if not os.path.exists(initramfs.BUSYBOX):
            self.skipTest('busybox-static is not installed')
        folder = os.path.dirname(guest.__file__)
        for script in (os.path.join(folder, 'init'),
                       *glob.glob(os.path.join(folder, 'kexec/*.sh'))):
            subprocess.run([initramfs.BUSYBOX, 'sh', '-n', script], check=True)

    def test_without_room_no_source_is_blamed(self):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        e = self.assertRaises(OSError, self.build)
        self.assertEqual((errno.EFBIG, None), (e.errno, e.filename))

    def test_without_busybox(self):
        self.assert_refused('/nowhere/busybox')

    def test_with_a_dynamic_busybox(self):
        dynamic = os.path.join(self.folder, 'busybox')
        with open(dynamic, 'wb') as f:
            f.write(b'\x7fELF...../lib64/ld-linux-x86-64.so.2')
        self.assert_refused(dynamic)
