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

"""A small Linux image: as much of one as a build wants to see."""

import io
import os
import struct
import tarfile

from nova_flexmem.image import appliance

MIB = 1 << 20
DISK_BYTES = 48 * MIB

RELEASE = '6.1.0-9-test'
MODULES = f'/lib/modules/{RELEASE}'
KERNEL = f'/boot/vmlinuz-{RELEASE}'
BUILTIN = ('overlay', 'ext4', 'erofs', 'virtio_pci', 'virtio_blk',
           'libnvdimm', 'nfit', 'nd_pmem')

X86_64, AARCH64 = 62, 183  # e_machine, see elf(5)


def elf(machine):
    """Return as much of a program as file(1) wants to see."""
    header = struct.pack('<16sHHIQQQIHHHHHH', b'\x7fELF\2\1\1', 2, machine, 1,
                         0x400000, 0, 0, 0, 64, 56, 0, 64, 0, 0)
    return header.ljust(4096, b'\0')


def bzimage():
    """Return as much of a kernel as its header's checks want to see."""
    content = bytearray(MIB)
    content[0x1fe:0x200] = b'\x55\xaa'
    content[0x202:0x206] = b'HdrS'
    content[0x206:0x208] = b'\x0f\x02'
    content[0x211] = 1  # LOADED_HIGH
    content[0x236] = 1  # XLF_KERNEL_64
    return bytes(content)


GOOD = {
    '/etc/os-release': b'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Test"\n',
    '/etc/debian_version': b'12.0\n',
    '/etc/hostname': b'test\n',
    '/etc/fstab': b'/dev/sda / ext4 defaults 0 1\n',
    '/bin/sh': elf(X86_64),
    '/usr/share/file': os.urandom(MIB),
    KERNEL: bzimage(),
    f'{MODULES}/modules.dep': b'',
    f'{MODULES}/modules.builtin': ''.join(
        f'kernel/x/{name}.ko\n' for name in BUILTIN).encode(),
}


def fill(guest, device, filesystem, files, folder):
    """Make a filesystem with files in it.

    :param guest: a running Appliance
    :param device: the disk or partition
    :param files: {path: content}
    :param folder: where an archive of them passes through
    """
    guest.command('mkfs', filesystem, device)
    _put(guest, device, files, folder)


def _put(guest, device, files, folder):
    archive = os.path.join(folder, 'files.tar')
    write_tar(archive, files)
    guest.command('mount', device, '/')
    guest.command('tar-in', archive, '/')
    guest.command('umount-all')


def write_tar(path, files):
    """Write a tar of files, {path: content}."""
    with tarfile.open(path, 'w') as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name.lstrip('/'))
            member.size = len(content)
            member.mode = 0o755
            tar.addfile(member, io.BytesIO(content))


def create(path, opened, make='mkfs.ext4 -q', size_bytes=DISK_BYTES):
    """Make an image with what is GOOD in it.

    :param path: where to have it
    :param opened: the Store whose appliance makes it
    :param make: what makes the filesystem, without the device
    """
    with open(path, 'xb') as f:
        f.truncate(size_bytes)
    drive = appliance.Drive(path, 'raw', False, 'good')
    with appliance.Appliance(
            opened.folder('appliance'), [drive], timeout_s=900,
            file_size_bytes=size_bytes) as guest:
        guest.shell(f'{make} {drive.device}')
        _put(guest, drive.device, GOOD, os.path.dirname(path))
