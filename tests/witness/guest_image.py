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


"""Makes the witness: a tiny Linux image whose only job is to bear witness.

It is Debian's kernel, a static busybox and one script as init, which tells on
the serial console whether the files that it wrote are still there, and what
disks it sees. It starts by its own boot loader, GRUB with an initramfs, as
stock guests do, and has all that a base is built from. Nothing in it is slow:
it is made in seconds, without root's powers but that files belong to root.
"""

import argparse
import dataclasses
import glob
import gzip
import hashlib
import itertools
import os
import re
import shutil
import stat
import struct
import sys

from nova_flexmem.build import cpio
from nova_flexmem.demo import cache
from nova_flexmem.demo import shell
from nova_flexmem.image import modules
from nova_flexmem import process

MIB = 1 << 20
VIRTUAL_SIZE_BYTES = 512 * MIB
SECTOR_BYTES = 512

_HERE = os.path.join(os.path.dirname(__file__), 'guest')
_GRUB = '/usr/lib/grub/i386-pc'
_BUSYBOX = '/bin/busybox'
_PROGRAMS = ('/sbin/resize2fs', '/usr/bin/getfattr', '/usr/bin/setfattr')

#: Partitions, in sectors: one for GRUB, and the root filesystem.
_GRUB_START, _ROOT_START = 2048, 4096
_ROOT_SECTORS = VIRTUAL_SIZE_BYTES // SECTOR_BYTES - _ROOT_START - 2048

_TO_START = ('virtio_pci', 'virtio_blk', 'virtio_scsi', 'sd_mod', 'ata_piix',
             'crc32c_intel')
_MODULES = (*_TO_START, 'overlay', 'erofs', 'libnvdimm', 'nfit', 'nd_pmem',
            'virtio_pmem', 'sr_mod', 'isofs', 'virtio_net', 'virtio_balloon',
            'virtio_rng', 'button', 'evdev', 'vfat', 'nls_cp437',
            'nls_ascii', 'nls_iso8859_1', 'nls_utf8')

_GRUB_MODULES = ('biosdisk', 'part_gpt', 'ext2', 'linux', 'normal')
_GRUB_CONFIG = '''\
set timeout=0
menuentry 'witness' {{
    linux /boot/vmlinuz-{release} root=/dev/vda2 rw console=ttyS0,115200 \
loglevel=4 mitigations=off init_on_alloc=0
    initrd /boot/initrd.img-{release}
}}
'''

_FILES = {
    'etc/debian_version': '12\n',
    'etc/fstab': '/dev/vda2 / ext4 defaults 0 1\n',
    'etc/group': 'root:x:0:\n',
    'etc/hostname': 'witness\n',
    'etc/os-release': 'ID=debian\nVERSION_ID="12"\nNAME="Witness"\n'
                      'PRETTY_NAME="Witness (Debian 12 kernel)"\n',
    'etc/passwd': 'root:x:0:0:root:/:/bin/sh\n'}

#: Where an image that was asked for data has it, and the files' SHA-256.
DATA = '/srv/data'
SUMS = '/srv/data.sums'

#: Under /srv/witness/given; guest/init changes them at the first boot.
_GIVEN = ('appended', 'changed', 'folder/original', 'kept',
          'moved-from/original', 'original', 'owned', 'removed',
          'replaced/original')

_TIMEOUT_S = 120


@dataclasses.dataclass(frozen=True)
class Image:
    """One image as two files, which are not to be written to."""

    raw: str
    qcow2: str


def build(cache_dir, name='witness', data_bytes=0):
    """Make the image, or find it made already.

    :param cache_dir: a folder for images
    :param name: what guests of this one call their image; another name makes
        another image
    :param data_bytes: of files in DATA that compress to nothing less. With
        them the image has the demo's control shell
    :returns: an Image
    :raises: ProgramFailed, OSError if a program that it takes is missing
    """
    newest = max(glob.glob('/boot/vmlinuz-*-cloud-amd64'),
                 key=os.path.getmtime)
    release = newest.partition('vmlinuz-')[2]
    recipe = [name, data_bytes, shell.AGENT, _digests([
        __file__, newest, _BUSYBOX, *_PROGRAMS,
        f'/lib/modules/{release}/modules.dep', f'{_GRUB}/kernel.img',
        *sorted(glob.glob(f'{_HERE}/*'))])]
    raw = cache.get(cache_dir, name, '.raw', recipe,
                    lambda folder: _make(folder, name, newest, release,
                                         data_bytes))

    def convert(folder):
        path = os.path.join(folder, 'disk.qcow2')
        process.run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', raw,
                    path, timeout_s=_TIMEOUT_S)
        return path

    return Image(raw, cache.get(cache_dir, name, '.qcow2', recipe, convert))


def _digests(paths):
    digests = []
    for path in paths:
        with open(path, 'rb') as f:
            digests.append(hashlib.file_digest(f, 'sha256').hexdigest())
    return digests


def _make(folder, name, kernel_image, release, data_bytes):
    """Write the raw image in a folder, and return its path."""
    root = os.path.join(folder, 'root')
    modules = _closure(release, _MODULES)
    _make_userland(root, name)
    if data_bytes:
        _write(root, shell.AGENT_PATH.lstrip('/'), shell.AGENT)
        _make_data(root, data_bytes)
    _make_modules(root, release, modules)
    boot = os.path.join(root, 'boot')
    os.makedirs(os.path.join(boot, 'grub'))
    shutil.copyfile(kernel_image, os.path.join(boot, f'vmlinuz-{release}'))
    _make_initramfs(os.path.join(boot, f'initrd.img-{release}'),
                    os.path.join(folder, 'initramfs'), root, release)
    _write(root, 'boot/grub/grub.cfg', _GRUB_CONFIG.format(release=release))
    return _make_disk(folder, root)


def _make_userland(root, name):
    for path in ('bin', 'sbin', 'dev', 'proc', 'run', 'sys', 'tmp', 'etc',
                 'srv/witness/given', 'var/lib'):
        os.makedirs(os.path.join(root, path))
    for path, content in _FILES.items():
        _write(root, path, content)
    _write(root, 'etc/witness/image', f'{name}\n')
    shutil.copyfile(f'{_HERE}/given', os.path.join(root, 'etc/witness/given'))
    for given in _GIVEN:
        _write(root, f'srv/witness/given/{given}', 'image\n')
    os.setxattr(os.path.join(root, 'srv/witness/given/kept'), 'user.witness',
                b'image')
    _install_busybox(os.path.join(root, 'bin'))
    for program in _PROGRAMS:
        listed = process.run('ldd', program, timeout_s=_TIMEOUT_S)
        for path in [program, *re.findall(r'(/\S+) \(0x', listed)]:
            target = os.path.join(root, path.lstrip('/').removeprefix('usr/'))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy(path, target)
    _install(f'{_HERE}/init', os.path.join(root, 'sbin/init'))


def _make_data(root, size_bytes):
    """Write files of 4 KiB to 4 MiB, which is what programs are made of."""
    os.makedirs(os.path.join(root, DATA.lstrip('/')))
    sizes = itertools.cycle(4096 << power for power in range(11))
    number = 0
    sums = []
    while size_bytes > 0:
        part = min(next(sizes), size_bytes)
        path = f'{DATA}/{number:04}'
        content = os.urandom(part)
        with open(os.path.join(root, path.lstrip('/')), 'xb') as f:
            f.write(content)
        sums.append(f'{hashlib.sha256(content).hexdigest()}  {path}\n')
        number += 1
        size_bytes -= part
    _write(root, SUMS, ''.join(sums))


def _make_modules(root, release, modules):
    source = f'/lib/modules/{release}'
    target = os.path.join(root, source.lstrip('/'))
    names = [*modules, 'modules.builtin', 'modules.builtin.modinfo',
             'modules.order']
    for name in names:
        path = os.path.join(target, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shutil.copyfile(os.path.join(source, name), path)
    process.run('depmod', '-b', root, release, timeout_s=_TIMEOUT_S)


def _closure(release, names):
    """Return the paths of modules and of all that they need, in order."""
    indexes = []
    for kind in ('dep', 'builtin', 'softdep', 'alias'):
        with open(f'/lib/modules/{release}/modules.{kind}', 'rb') as f:
            indexes.append(f.read())
    return modules.Modules(*indexes).closure(names)


def _make_initramfs(path, folder, root, release):
    """Write the initramfs that the image's own boot loader starts."""
    for name in ('bin', 'dev', 'modules', 'newroot', 'proc', 'sys'):
        os.makedirs(os.path.join(folder, name))
    _install_busybox(os.path.join(folder, 'bin'))
    _install(f'{_HERE}/initramfs-init', os.path.join(folder, 'init'))
    order = []
    for module in _closure(release, _TO_START):
        order.append(f'{os.path.basename(module)}\n')
        shutil.copy(os.path.join(root, 'lib/modules', release, module),
                    os.path.join(folder, 'modules'))
    _write(folder, 'modules/order', ''.join(order))
    with gzip.open(path, 'xb') as f:
        f.write(cpio.pack(_members(folder)))


def _members(folder):
    """Yield what cpio.pack() takes, of all that is in a folder."""
    for parent, folders, names in os.walk(folder):
        for path in (os.path.join(parent, name) for name in folders + names):
            mode = os.lstat(path).st_mode
            content = b''
            if stat.S_ISLNK(mode):
                content = os.readlink(path).encode()
            elif stat.S_ISREG(mode):
                with open(path, 'rb') as f:
                    content = f.read()
            yield os.path.relpath(path, folder), mode, content


def _make_disk(folder, root):
    """Put a root tree on a disk that boots; return the path of the disk."""
    disk = os.path.join(folder, 'disk.raw')
    core = os.path.join(folder, 'core.img')
    process.run('grub-mkimage', '-O', 'i386-pc', '-d', _GRUB, '-o', core,
                '-p', '(,gpt2)/boot/grub', *_GRUB_MODULES,
                timeout_s=_TIMEOUT_S)
    with open(disk, 'xb') as f:
        f.truncate(VIRTUAL_SIZE_BYTES)
    process.run('sgdisk', f'--new=1:{_GRUB_START}:{_ROOT_START - 1}',
                '--typecode=1:EF02',
                f'--new=2:{_ROOT_START}:{_ROOT_START + _ROOT_SECTORS - 1}',
                disk, timeout_s=_TIMEOUT_S)
    # GRUB 2.06 can't read the newest features of ext4
    process.run('mke2fs', '-q', '-t', 'ext4', '-d', root,
                '-O', '^metadata_csum_seed,^orphan_file',
                '-E', f'offset={_ROOT_START * SECTOR_BYTES},root_owner=0:0',
                disk, f'{_ROOT_SECTORS // 2}k', timeout_s=_TIMEOUT_S)
    _install_grub(disk, core)
    return disk


def _install_grub(disk, core):
    """Do to a file what grub-bios-setup does to a block device.

    The offsets are those of GRUB's include/grub/i386/pc/boot.h.
    """
    with open(f'{_GRUB}/boot.img', 'rb') as f:
        boot = bytearray(f.read(440))  # what follows is the partition table's
    boot[0x5c:0x64] = struct.pack('<Q', _GRUB_START)
    boot[0x66:0x68] = b'\x90\x90'  # the BIOS knows which drive it booted
    with open(core, 'rb') as f:
        content = bytearray(f.read())
    # where the rest of it lies, in the first sector's list of blocks
    content[0x1f4:0x1fc] = struct.pack('<Q', _GRUB_START + 1)
    with open(disk, 'r+b') as f:
        f.write(boot)
        f.seek(_GRUB_START * SECTOR_BYTES)
        f.write(content)


def _install_busybox(folder):
    _install(_BUSYBOX, os.path.join(folder, 'busybox'))
    for applet in process.run(_BUSYBOX, '--list',
                              timeout_s=_TIMEOUT_S).split():
        if applet != 'busybox':
            os.symlink('busybox', os.path.join(folder, applet))


def _install(source, target):
    shutil.copyfile(source, target)
    os.chmod(target, 0o755)


def _write(root, path, content):
    path = os.path.join(root, path.lstrip('/'))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w', encoding='ascii') as f:
        f.write(content)


def main():
    """Make the image, and print the paths of its two files."""
    parser = argparse.ArgumentParser(description='Make the witness image.')
    parser.add_argument('cache_dir', help='folder that keeps images')
    parser.add_argument('--name', default='witness',
                        help='of the image (default: %(default)s)')
    args = parser.parse_args()
    image = build(args.cache_dir, args.name)
    print(image.raw)
    print(image.qcow2)


if __name__ == '__main__':
    sys.exit(main())
