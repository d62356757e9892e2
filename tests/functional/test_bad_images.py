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

"""Images that the real builder must refuse, and two that it must not.

What can be wrong with a kernel is in the unit tests, case by case. Each bad
image is the good one with one thing wrong. The images are made in one
appliance session, because an appliance takes seconds to start. All builds use
one store; each test leaves it empty.
"""

import json
import os
import shutil
import signal
import string
import struct
import subprocess
import sys
import tempfile

import testtools

from nova_flexmem.build import builder
from nova_flexmem import exception
from nova_flexmem.image import appliance
from nova_flexmem import process
from tests.functional import harness
from tests.functional import small_image


def _windows_program():
    """Return as much of cmd.exe as file(1) wants to see."""
    return (b'MZ' + bytes(58) + struct.pack('<I', 64) + b'PE\0\0'
            + struct.pack('<HHIIIHH', 0x8664, 1, 0, 0, 0, 240, 0x22)
            + struct.pack('<H', 0x20b).ljust(240, b'\0')).ljust(4096, b'\0')


def _builtin_but(*names):
    return {f'{small_image.MODULES}/modules.builtin': ''.join(
        f'kernel/x/{name}.ko\n' for name in small_image.BUILTIN
        if name not in names).encode()}


def _without(*paths):
    return {path: content for path, content in small_image.GOOD.items()
            if path not in paths}


#: One filesystem on a whole disk: {name of the image: files in it}.
_TREES = {
    # and what is attached to its instances is not there yet
    'good': small_image.GOOD | {
        '/mnt/file': b'',
        '/etc/fstab': b'/dev/sda / ext4 defaults 0 1\n'
                      b'/dev/vdb /mnt auto defaults,nofail 0 2\n'},
    'no-system': {'/hello': b'not an operating system\n'},
    'aarch64': small_image.GOOD | {
        '/bin/sh': small_image.elf(small_image.AARCH64)},
    'no-kernel': _without(small_image.KERNEL),
    'no-pmem': small_image.GOOD | _builtin_but('nd_pmem'),
    'not-a-bzimage': small_image.GOOD | {
        small_image.KERNEL: small_image.elf(small_image.X86_64)},
    # the only way to overlay leads out of the folder of the modules
    'evil-path': small_image.GOOD | _builtin_but('overlay') | {
        f'{small_image.MODULES}/modules.dep':
            b'../../../etc/overlay.ko:\n'
            b'/etc/overlay.ko:\n'
            b'kernel/../../../../etc/overlay.ko:\n'
            b"kernel/'; reboot '/overlay.ko:\n",
        '/etc/overlay.ko': small_image.elf(small_image.X86_64)},
    'too-large': small_image.GOOD,
}


#: Of the image with btrfs, which takes that much.
_BTRFS_BYTES = 128 << 20


class BadImagesTest(testtools.TestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for program in ('guestfish', 'qemu-img'):
            if not process.available(program):
                raise cls.skipException(f'{program} is not installed')
        cls._folder = tempfile.mkdtemp(prefix='flexmem-bad-images-')
        cls.addClassCleanup(shutil.rmtree, cls._folder)
        cls._store = harness.new_store(cls._folder)
        cls._make_images()

    def setUp(self):
        super().setUp()
        self.addCleanup(self._remove_bases)

    def _remove_bases(self):
        for key in self._store.keys():
            self._store.remove(key)

    @classmethod
    def _make_images(cls):
        names = [*_TREES, 'windows', 'luks', 'two-systems', 'btrfs']
        for name in names:
            with open(cls._image(name), 'xb') as f:
                f.truncate(_BTRFS_BYTES if name == 'btrfs'
                           else small_image.DISK_BYTES)
        drives = {name: appliance.Drive(cls._image(name), 'raw', False,
                                        f'bad{letter}')
                  for name, letter in zip(names, string.ascii_lowercase)}
        with appliance.Appliance(
                cls._store.folder('appliance'), [*drives.values()],
                timeout_s=900, file_size_bytes=_BTRFS_BYTES) as a:
            devices = {name: drive.device for name, drive in drives.items()}
            for name, files in _TREES.items():
                cls._fill(a, devices[name], 'ext4', files)
                if name == 'too-large':
                    a.shell(f'mount {devices[name]} /sysroot && truncate'
                            ' -s 2G /sysroot/hole && umount /sysroot')
            windows = devices['windows']
            a.command('part-disk', windows, 'mbr')
            cls._fill(a, f'{windows}1', 'vfat', {
                '/Windows/System32/cmd.exe': _windows_program(),
                '/Windows/System32/config/SOFTWARE': b''})
            for name in ('luks', 'two-systems'):
                a.command('part-init', devices[name], 'gpt')
                a.command('part-add', devices[name], 'p', '2048', '49151')
                a.command('part-add', devices[name], 'p', '49152', '-2048')
            luks, two = devices['luks'], devices['two-systems']
            cls._fill(a, f'{luks}1', 'ext4',
                      {'/vmlinuz': small_image.bzimage()})
            # few iterations: a key derivation takes minutes under TCG
            a.shell('echo -n secret | cryptsetup -q luksFormat --type luks1'
                    f' --pbkdf-force-iterations 1000 {luks}2 -')
            cls._fill(a, f'{two}1', 'ext4', small_image.GOOD)
            cls._fill(a, f'{two}2', 'ext4', small_image.GOOD)
            cls._fill(a, devices['btrfs'], 'btrfs', small_image.GOOD)
            a.shell(f'mount {devices["btrfs"]} /sysroot;'
                    ' btrfs property set /sysroot/etc compression zstd;'
                    ' chattr +c /sysroot/etc/hostname; umount /sysroot')

    @classmethod
    def _fill(cls, a, device, filesystem, files):
        small_image.fill(a, device, filesystem, files, cls._folder)

    @classmethod
    def _image(cls, name):
        return os.path.join(cls._folder, f'{name}.raw')

    def _command(self, *words, config=''):
        config_file = os.path.join(self._folder, 'nova.conf')
        with open(config_file, 'w') as f:
            f.write(f'[flexmem]\n{config}\n')
        return subprocess.run(
            [sys.executable, '-m', 'nova_flexmem.cmd.main', '--store',
             self._store.path, '--config-file', config_file, *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def _assert_nothing_left(self):
        self.assertEqual([], os.listdir(self._store.folder('builds')))
        self.assertEqual([], self._store.keys())

    def _assert_refused(self, name, *causes, config=''):
        done = self._command('image', 'build', self._image(name),
                             config=config)
        self.assertNotEqual(0, done.returncode)
        self.assertEqual('', done.stdout)
        *before, error = done.stderr.splitlines()
        for line in before:  # stages alone, and that KVM is broken
            self.assertRegex(line, r'^( *\d+\.\d s  |No guest boots )')
        for words in (self._image(name), *causes):
            self.assertIn(words, error)
        self._assert_nothing_left()

    def test_no_operating_system(self):
        self._assert_refused('no-system', 'no operating system found')

    def test_windows(self):
        self._assert_refused('windows', 'its operating system is windows')

    def test_encrypted_root(self):
        self._assert_refused('luks', 'is encrypted (LUKS)')

    def test_two_operating_systems(self):
        self._assert_refused('two-systems', '2 operating systems')

    def test_other_architecture(self):
        self._assert_refused('aarch64', 'made for aarch64')

    def test_no_kernel(self):
        self._assert_refused('no-kernel', 'no kernel in it')

    def test_kernel_without_pmem(self):
        self._assert_refused('no-pmem', small_image.RELEASE,
                             'has no nd_pmem; import linux-image-')

    def test_kernel_that_is_none(self):
        self._assert_refused('not-a-bzimage', small_image.KERNEL,
                             'not a 64-bit x86')

    def test_modules_outside_their_folder(self):
        self._assert_refused('evil-path', 'no support for overlay;')

    def test_base_too_large(self):
        self._assert_refused('too-large', 'the limit is 1.0 GiB',
                             'max_base_size_gib',
                             config='max_base_size_gib = 1')

    def test_build_takes_too_long(self):
        image = self._image('good')
        e = self.assertRaises(
            exception.BuildFailed, builder.build, self._store, image,
            builder.Options(timeout_s=3))
        self.assertIn(image, str(e))
        self.assertIn('no end after 3 s', str(e))
        self._assert_nothing_left()

    def test_properties_of_btrfs(self):
        """mkfs.erofs can't have them."""
        done = self._command('image', 'build', self._image('btrfs'),
                             '-f', 'json')
        self.assertEqual(0, done.returncode, done.stderr)
        built = self._store.require(json.loads(done.stdout)['base'])
        self.assertEqual('ext4', built.manifest.rootfs)
        self._store.remove(built.key)

    def test_nothing_wrong(self):
        """Of two builds of one good image at once, one builds."""
        words = (self._store, 'build', self._image('good'), '-f', 'json')
        first = self.enterContext(harness.Command(*words))
        self.assertTrue(first.wait_for_line('copying the image'), first.lines)
        # however busy the host is, the second comes before the first has ended
        first.send_signal(signal.SIGSTOP)
        second = self.enterContext(harness.Command(*words))
        self.assertTrue(second.wait_for_line('waiting for another build'),
                        second.lines)
        first.send_signal(signal.SIGCONT)

        shown = []
        for command in (first, second):
            code, out, err = command.end()
            self.assertEqual(0, code, err)
            shown.append(json.loads(out))
        self.assertEqual([True, False], [each['built'] for each in shown])
        self.assertEqual(shown[0]['base'], shown[1]['base'])
        self.assertEqual(0, self._command('image', 'verify',
                                          '--all').returncode)
        removed = self._command('image', 'remove', shown[0]['base'])
        self.assertEqual(0, removed.returncode, removed.stderr)
        self._assert_nothing_left()
