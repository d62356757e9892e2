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

"""Images whose filesystems are made to lead a build astray.

One image has all the tricks that a build has to see through, and becomes a
base with what the image has; the other must end the build. Both are made
without the appliance, whose start takes long.
"""

import json
import os
import random
import stat
import struct
import subprocess
import sys
import tempfile

import testtools

from nova_flexmem.image import appliance
from nova_flexmem import process
from nova_flexmem.store import basefiles
from nova_flexmem.store import superblock
from tests.functional import harness
from tests.functional import small_image

MIB = 1 << 20

#: What a build may take at most, all its programs together.
_MEMORY_BYTES = 1 << 30

_PARTITION_START = 1 * MIB
_PARTITION_BYTES = 110 * MIB

#: In a base these are not what the image's tree has: the reduced fstab, and
#: where the second partition is mounted.
_CHANGED = ('./etc/fstab', './usr/bin/*', './tmp/*', './srv/*', './opt/*',
            './lost+found')

_OTHER_UUID = '6b1f0d8a-3e5c-4274-9c1b-7d2e8f40a659'

_FSTAB = f"""/dev/sda1 / ext4 defaults 0 1
/dev/sda2 /home ext4 defaults 0 0
/dev/sda2 /escape ext4 defaults 0 0
/dev/sda2 /../../srv ext4 defaults 0 0
/dev/disk/by-uuid/{_OTHER_UUID} /opt ext4 noauto 0 0
/dev/vdb /mnt auto defaults,nofail,comment=cloudconfig 0 2
/dev/sdb /data ext4 nofail 0 2
/dev/vdb1 /data ext4 nofail 0 2
/dev/sda7 /data ext4 nofail 0 2
/dev/disk/by-id/virtio-0b9c56c1 /volume btrfs nofail,subvol=a 0 2
/dev/sr0 /volume auto ro 0 0
""".encode() + b'\xff\xfe /\xff \xff\n'


def _write(folder, files):
    for path, content in files.items():
        path = os.path.join(os.fsencode(folder), os.fsencode(path).strip(b'/'))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as f:
            f.write(content)
        os.chmod(path, 0o755)


def _link(folder, path, target):
    path = os.path.join(folder, path.strip('/'))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.symlink(target, path)


def _fill_hostile(folder, secret):
    """Make the tree of tricks; secret is a file of the host."""
    _write(folder, small_image.GOOD | {
        '/etc/fstab': _FSTAB,
        '/etc/default/grub': b'GRUB_CMDLINE_LINUX="quiet $x flexmem.base=evil'
                             b' --"\n\xff\n',
        '/usr/bin/of-the-image': b'', '/tmp/of-the-image': b'',
        '/srv/of-the-image': b'', '/opt/of-the-image': b'',
        '/mnt/of-the-image': b'', '/data/of-the-image': b'',
        '/volume/of-the-image': b'',
        '/setuid': b'#!/bin/sh\n', '/capable': b'',
        b'/odd/a\nb': b'', b'/odd/\xff\xfe': b'', b'/odd/' + b'n' * 254: b'',
        "/odd/'; reboot '": b'', '/odd/-rf': b'', '/odd/$(reboot)': b'',
        '/lib/modules/6.9\n/x': b'', "/lib/modules/7'; reboot '/x": b'',
        '/' + 'deep/' * 400 + 'file': b''})
    at = os.path.join(folder, '%s').__mod__
    os.chmod(at('setuid'), 0o4755)
    os.makedirs(at('dev'))
    os.mknod(at('dev/zero'), stat.S_IFCHR | 0o666, os.makedev(1, 5))
    os.mknod(at('dev/disk'), stat.S_IFBLK | 0o600, os.makedev(8, 0))
    os.mkfifo(at('fifo'))
    # what is read must be a file, and in the image
    _link(folder, '/boot/grub/grub.cfg', '/dev/zero')
    _link(folder, '/boot/loader/entries', '/')
    _link(folder, '/boot/grub2/grub.cfg', '../../fifo')
    _link(folder, '/etc/kernel/cmdline', secret)
    _link(folder, '/lib/modules/99.0/vmlinuz', '/dev/zero')
    _link(folder, f'/boot/config-{small_image.RELEASE}', f'../..{secret}')
    # mount points
    _link(folder, '/home', '/usr/bin')
    _link(folder, '/escape', '../../../../tmp')
    # extended attributes: half a MiB of them, and one with a meaning
    for number in range(150):
        _write(folder, {f'/flood/{number}': b''})
        os.setxattr(at(f'flood/{number}'), 'user.flood',
                    b'%03d' % number * 1200)
    os.setxattr(at('capable'), 'security.capability',
                struct.pack('<IIIII', 0x2000001, 0x2000, 0, 0, 0))
    _write(folder, {'/huge/0': b''})
    for number in range(1, 6000):
        os.link(at('huge/0'), at(f'huge/{number}'))


def _listing(run, folder):
    """Return what is in a tree, a list of lines, the same for the same."""
    changed = ' '.join(f"! -path '{path}'" for path in _CHANGED)
    return run(f"cd {folder} && find . -mindepth 1 {changed} -printf"
               r" '%p %y %m %U:%G %l\n' | LC_ALL=C sort | LC_ALL=C cat -v")


def _here(script):
    return subprocess.run(['sh', '-c', script], check=True,
                          stdout=subprocess.PIPE).stdout.decode().splitlines()


class HostileTreesTest(testtools.TestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if os.geteuid() != 0:
            cls.skipTest(cls, 'needs root, to make device nodes')
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory(
            prefix='flexmem-test-', dir='/var/tmp'))
        cls.store = harness.new_store(cls.folder)

    def _path(self, name):
        return os.path.join(self.folder, name)

    def _image(self, name, *trees, more=()):
        """Make an image with a partition for each tree.

        :param more: arguments of mke2fs
        """
        path = self._path(f'{name}.raw')
        with open(path, 'xb') as f:
            f.truncate(_PARTITION_START + len(trees) * _PARTITION_BYTES + MIB)
        for number, tree in enumerate(trees, 1):
            identity = ['-U', _OTHER_UUID] if number == 2 else []
            subprocess.run(
                ['mke2fs', '-q', '-F', '-t', 'ext4', '-b', '4096', '-d', tree,
                 *identity, *more, '-E', f'offset={self._start(number)}', path,
                 f'{_PARTITION_BYTES >> 10}k'], check=True)
        self._partition(path, len(trees))
        return path

    def _partition(self, path, count):
        subprocess.run(['sgdisk', path, *(
            f'--new={number}:{self._start(number) // 512}:+'
            f'{_PARTITION_BYTES // 512}' for number in
            range(1, count + 1))], check=True, stdout=subprocess.DEVNULL)

    @staticmethod
    def _start(number):
        return _PARTITION_START + (number - 1) * _PARTITION_BYTES

    def _build(self, image):
        with subprocess.Popen(
                [sys.executable, '-m', 'nova_flexmem.cmd.main', '--store',
                 self.store.path, 'image', 'build', image, '-f', 'json'],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                text=True) as build, harness.MemoryWatch(build.pid) as memory:
            stdout, stderr = build.communicate()
        self.addDetail('memory', testtools.content.text_content(
            f'{memory.peak_bytes >> 20} MiB at most'))
        self.assertLess(memory.peak_bytes, _MEMORY_BYTES)
        self.assertGreater(memory.peak_bytes, MIB)
        self.assertEqual([], os.listdir(self.store.folder('builds')))
        return subprocess.CompletedProcess(build.args, build.returncode,
                                           stdout, stderr)

    def _assert_refused(self, image):
        done = self._build(image)
        self.assertEqual(1, done.returncode)
        *before, error = done.stderr.splitlines()
        for line in before:  # stages alone, and that KVM is broken
            self.assertRegex(line, r'^( *\d+\.\d s  |No guest boots )')
        self.assertIn(image, error)

    def test_tricks(self):
        secret = self._path('secret')
        with open(secret, 'w') as f:
            f.write('leaked=1\n# CONFIG_FS_DAX is not set\n')
        tree, other = self._path('tree'), self._path('other')
        _fill_hostile(tree, secret)
        # whoever runs these in the place of its own does not come far
        _write(other, {f'/{name}': b'#!/bin/sh\nexit 99\n' for name in (
            'bash', 'sh', 'find', 'sort', 'gawk', 'mkfs.erofs', 'base64')})
        done = self._build(self._image('tricks', tree, other))
        self.assertEqual(0, done.returncode, done.stderr)
        built = self.store.require(json.loads(done.stdout)['base'])
        self.assertEqual(small_image.RELEASE, built.manifest.kernel_release)
        self.assertEqual('quiet', built.manifest.kernel_args)
        built.verify()
        with self._mounted(built) as a:
            self._assert_faithful(a, tree, other)

    def _mounted(self, built):
        path = self._path('rootfs')
        process.run('dd', f'if={built.file(basefiles.ROOT_PMEM)}',
                    f'of={path}', 'bs=2M',
                    f'skip={superblock.DATA_OFFSET_BYTES >> 21}',
                    'status=none', timeout_s=60)
        return appliance.Appliance(
            self.store.folder('appliance'),
            [appliance.Drive(path, 'raw', True, 'root')], timeout_s=900,
            file_size_bytes=MIB)

    def _assert_faithful(self, a, tree, other):
        a.command('mount-ro', '/dev/sda', '/')
        self.assertEqual(_listing(_here, tree), _listing(a.shell, '/sysroot'))
        for folder in ('/usr/bin', '/tmp', '/srv', '/opt'):
            self.assertEqual(sorted(os.listdir(other)),
                             a.command('ls', folder))
        for path, rdev in (('/dev/zero', (1, 5)), ('/dev/disk', (8, 0))):
            facts = dict(line.split(': ') for line in
                         a.command('statns', path))
            self.assertEqual(os.makedev(*rdev), int(facts['st_rdev']))
        script = "getfattr -h --absolute-names -e hex -n %s %s | grep ="
        for name, path in (('security.capability', 'capable'),
                           *(('user.flood', f'flood/{number}')
                             for number in (0, 77, 149))):
            value = os.getxattr(os.path.join(tree, path), name)
            self.assertEqual([f'{name}=0x{value.hex()}'], a.shell(
                script % (name, f'/sysroot/{path}')))
        fstab = a.command('cat', '/etc/fstab')
        before = _FSTAB.decode(errors='surrogateescape').splitlines()
        self.assertEqual([f'# flexmem: {line}' for line in before[:5]],
                         fstab[2:7])
        # of disks that are attached to an instance
        self.assertEqual(before[5:11], fstab[7:13])

    def test_many_files(self):
        """mkfs.erofs has 5 KB in memory for each."""
        tree = self._path('many')
        _write(tree, small_image.GOOD)
        for folder in range(300):
            os.mkdir(os.path.join(tree, str(folder)))
            for number in range(1000):
                with open(os.path.join(tree, f'{folder}/{number}'), 'w'):
                    pass
        done = self._build(self._image(
            'many', tree, more=('-N', '310000', '-I', '128')))
        self.assertEqual(0, done.returncode, done.stderr)
        manifest = self.store.require(json.loads(done.stdout)['base']).manifest
        self.assertEqual('erofs', manifest.rootfs)

    def test_damaged_superblocks(self):
        """Of ext4, XFS and Btrfs, with the marks that tell them apart."""
        path = self._path('damaged.raw')
        noise = random.Random(1)
        with open(path, 'xb') as f:
            f.truncate(self._start(4) + MIB)
            for number, (offset, keep, content) in enumerate((
                    (1024, 56, b'\x53\xef'), (0, 0, b'XFSB'),
                    (65536, 64, b'_BHRfS_M')), 1):
                block = bytearray(noise.randbytes(4096))
                block[keep:keep + len(content)] = content
                f.seek(self._start(number) + offset)
                f.write(block)
        self._partition(path, 3)
        self._assert_refused(path)
