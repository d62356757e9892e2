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

"""Makes images in the shapes that distributions ship.

They hold as much of a system as a build looks at, and are not booted. Those of
a class are made in one appliance session, because an appliance takes seconds
to start.
"""

import os
import string
import struct

from nova_flexmem.build import builder
from nova_flexmem import exception
from nova_flexmem.image import appliance
from tests.functional import harness
from tests.functional import small_image

_DISK_BYTES = 768 << 20

#: What Debian's inspection looks for.
DEBIAN = {'/etc/debian_version': b'12.0\n'}


def kernel(release, without=(), path=None, named=False):
    """Return the files of a kernel, {path: content}.

    :param without: modules that it does not have
    :param path: of the kernel; default: in /boot by its release
    :param named: whether the kernel itself says its release
    """
    content = bytearray(small_image.bzimage())
    if named:
        struct.pack_into('<H', content, 0x20e, 0x400)
        text = f'{release} (build@host) #1 SMP\0'.encode()
        content[0x600:0x600 + len(text)] = text
    folder = f'/lib/modules/{release}'
    return {path or f'/boot/vmlinuz-{release}': bytes(content),
            f'{folder}/modules.dep': b'',
            f'{folder}/modules.builtin': ''.join(
                f'kernel/x/{name}.ko\n' for name in small_image.BUILTIN
                if name not in without).encode()}


def system(distro, version, fstab, *more):
    """Return the files of a system without a kernel."""
    files = {'/etc/os-release': f'ID={distro}\nVERSION_ID="{version}"\n'
                                'PRETTY_NAME="Test"\n'.encode(),
             '/etc/hostname': b'test\n', '/etc/fstab': fstab.encode(),
             '/usr/bin/sh': small_image.elf(small_image.X86_64),
             '/bin/sh': small_image.elf(small_image.X86_64),
             '/home/x': b'', '/var/x': b'', '/sbin/x': b''}
    for other in more:
        files |= other
    return files


class ShapesTestCase(harness.StoreTestCase):
    """Makes an image by each method make_NAME, which a test_NAME builds."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        names = [name.removeprefix('make_') for name in sorted(dir(cls))
                 if name.startswith('make_')]
        for name in names:
            with open(cls._image(name), 'xb') as f:
                f.truncate(_DISK_BYTES)
        drives = [appliance.Drive(cls._image(name), 'raw', False,
                                  f'shape{letter}')
                  for name, letter in zip(names, string.ascii_lowercase)]
        with appliance.Appliance(
                cls.store.folder('appliance'), drives, timeout_s=1800,
                file_size_bytes=_DISK_BYTES) as a:
            for name, drive, letter in zip(names, drives,
                                           string.ascii_lowercase):
                getattr(cls, f'make_{name}')(a, f'/dev/sd{letter}')
                a.command('umount-all')

    @classmethod
    def _image(cls, name):
        return os.path.join(cls.folder, f'{name}.raw')

    @classmethod
    def put(cls, a, *mounts_and_files):
        """Mount (device, point, options) in turn, then write files."""
        *mounts, files = mounts_and_files
        for device, point, options in mounts:
            if point != '/':
                a.command('mkdir-p', point)
            a.command('mount-options', options, device, point)
        archive = os.path.join(cls.folder, 'files.tar')
        small_image.write_tar(archive, files)
        a.command('tar-in', archive, '/')

    @staticmethod
    def partitions(a, disk, *ends):
        a.command('part-init', disk, 'gpt')
        start = 2048
        for end in ends:
            a.command('part-add', disk, 'p', str(start), str(end))
            start = end + 1

    def build(self, name):
        base, _new = builder.build(self.store, self._image(name))
        self.addCleanup(self.store.remove, base.key)
        return base.manifest

    def assert_refused(self, name, sentence):
        e = self.assertRaises(exception.ImageRefused, builder.build,
                              self.store, self._image(name))
        self.assertEqual(f'{self._image(name)}: {sentence}', str(e))
