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

"""Guests of a base without a distribution: they boot in seconds.

The base's tree is folders and files of the test, with busybox and a script
in /sbin/init's place. Kernel, /init, FlexMem device and delta are the real
ones, so that a test can run with the kernels of several distributions.
"""

import hashlib
import lzma
import os
import pathlib
import re
import shutil
import stat
import subprocess
import uuid

from nova_flexmem import accel
from nova_flexmem.build import cpio
from nova_flexmem.build import initramfs
from nova_flexmem import emulator
from nova_flexmem.guest import delta
from nova_flexmem.guest import device
from nova_flexmem.guest.device import nvdimm
from nova_flexmem.guest.device import virtio_pmem
from nova_flexmem.image import kernel
from nova_flexmem.image import modules
from nova_flexmem import process
from nova_flexmem.store import superblock

#: Folders that have boot/vmlinuz-* and lib/modules: "/" and, for example,
#: what dpkg-deb unpacked of a kernel's package.
SYSTEMS = os.environ.get('FLEXMEM_TEST_KERNELS', '/').split(':')

_MODULES = ('overlay', 'ext4', 'erofs', 'virtio_pci', 'virtio_blk',
            'virtio_scsi', 'sd_mod', *kernel.DEVICES['nvdimm'],
            *kernel.DEVICES['virtio-pmem'])

#: Of these it takes 10 to 20 without KVM, on a host with other load.
_BOOT_S = 120

_BEGIN, _END = '-- begin --', '-- end --'

_FIRST_PROCESS = f"""#!/bin/sh
export PATH=/bin
stty -onlcr < /dev/console
{{
echo '{_BEGIN}'
for disk in /sys/block/vd*; do
    [ "$(cat $disk/serial)" != script ] || . /dev/${{disk##*/}}
done
echo '{_END}'
}} > /dev/console 2>&1
sync
poweroff -f
"""

#: How a delta is attached, {delta} being QEMU's name of the disk.
DISKS = {
    'virtio-blk': ['-device',
                   'virtio-blk-pci,drive=delta,serial=flexmem-delta'],
    'virtio-scsi': ['-device', 'virtio-scsi-pci,id=scsi', '-device',
                    'scsi-hd,bus=scsi.0,drive=delta,serial=flexmem-delta']}


_FLEXMEM_DEVICES = {'nvdimm': nvdimm.Nvdimm(),
                    'virtio-pmem': virtio_pmem.VirtioPmem()}


class Kernel:
    """A kernel and the modules that guests of it need."""

    def __init__(self, system):
        system = pathlib.Path(system)
        self.path = max((system / 'boot').glob('vmlinuz-*'))
        self.release = self.path.name.partition('-')[2]
        self.folder = system / 'lib/modules' / self.release
        if not self.folder.exists():
            self.folder = system / 'usr/lib/modules' / self.release

    def modules(self, wanted=_MODULES):
        """Return (name, content) of each module, in the order of loading.

        :param wanted: names of modules; those they need come with them
        """
        return [self.read_module(path) for path in self.module_paths(wanted)]

    def module_paths(self, wanted=_MODULES):
        """Return the paths of modules in the folder, in the same order."""
        if not (self.folder / 'modules.dep').exists():
            process.run('depmod', '-b', str(self.folder.parents[2]),
                        self.release, timeout_s=60)
        return modules.Modules(*(
            (self.folder / f'modules.{kind}').read_bytes()
            for kind in ('dep', 'builtin', 'softdep', 'alias'))).closure(
                wanted)

    def read_module(self, path):
        """Return (name, content) of the module at a path in the folder."""
        content = (self.folder / path).read_bytes()
        if path.endswith('.xz'):
            content = lzma.decompress(content)
        return path.rpartition('/')[2].partition('.')[0], content


class Base:
    """A root.pmem made from a folder."""

    def __init__(self, folder, tree, rootfs='erofs', identity=None,
                 mkfs_options=()):
        """Make root.pmem.

        :param folder: a folder that is not there yet
        :param tree: the folder with its files
        :param identity: the filesystem's uuid; default: a new one
        """
        os.mkdir(folder)
        self.rootfs = rootfs
        self.uuid = identity or str(uuid.uuid4())
        self.path = os.path.join(folder, 'root.pmem')
        self.filesystem = filesystem = os.path.join(folder, rootfs)
        if rootfs == 'erofs':
            words = ['mkfs.erofs', '--quiet', '-E', 'noinline_data',
                     '-U', self.uuid, *mkfs_options, filesystem, tree]
        else:
            words = ['mke2fs', '-q', '-t', 'ext4', '-b', '4096', '-U',
                     self.uuid, '-d', tree, *mkfs_options, filesystem, '64M']
        subprocess.run(words, check=True, timeout=60)
        content = pathlib.Path(filesystem).read_bytes()
        self.size_bytes = superblock.padded(
            superblock.DATA_OFFSET_BYTES + len(content))
        content = superblock.pack(self.size_bytes, self.uuid) + content
        content = content.ljust(self.size_bytes, b'\0')
        pathlib.Path(self.path).write_bytes(content)
        self.layout = hashlib.sha256(content).hexdigest()[:32]


class Guest:
    """A guest with a delta of its own; it may start again and again."""

    def __init__(self, folder, size_bytes=delta.MIN_SIZE_BYTES):
        self.folder = folder
        os.mkdir(folder)
        self.delta = os.path.join(folder, 'delta')
        self.console = ''
        delta.create(self.delta, size_bytes)

    def boot(self, base, booted, script, *, init=None, arguments=(),
             disk='virtio-blk', layout=True, flexmem_device='nvdimm',
             timeout_s=_BOOT_S):
        """Start it, wait until it is off; returns what the script printed.

        :param base: the Base
        :param booted: the Kernel
        :param script: run by the first process of the image
        :param init: another text of /init
        :param arguments: more words for the kernel command line
        :param disk: one of DISKS
        :param layout: False as hosts have it that do not know layouts
        :param flexmem_device: 'nvdimm' or 'virtio-pmem'
        :param timeout_s: seconds until it is ended, as a hard reset would
        """
        archive = self._write_initramfs(booted, init)
        path = os.path.join(self.folder, 'script')
        text = script.encode() + b'\n'
        pathlib.Path(path).write_bytes(
            text.ljust(-(-len(text) // 4096) * 4096, b'#'))
        line = ['console=ttyS0', 'quiet', 'panic=-1',
                f'flexmem.base={base.uuid}', f'flexmem.rootfs={base.rootfs}',
                *arguments]
        if layout:
            line.append(f'flexmem.layout={base.layout}')
        maximum_bytes = (256 << 20) + base.size_bytes
        words = [
            emulator.find().program, '-nodefaults', '-no-reboot', '-machine',
            f'pc,accel={"kvm" if accel.kvm_works() else "tcg"}', '-cpu',
            'max', '-m', f'256M,slots=1,maxmem={maximum_bytes}', '-display',
            'none', '-serial', 'stdio', '-kernel', str(booted.path),
            '-initrd', archive, '-append', ' '.join(line),
            *device.memory_backend(base.path, base.size_bytes),
            *_FLEXMEM_DEVICES[flexmem_device].arguments('pc', 0),
            '-drive', f'file={self.delta},if=none,id=delta,format=raw',
            *DISKS[disk], '-drive',
            f'file={path},if=none,id=script,format=raw,readonly=on',
            '-device', 'virtio-blk-pci,drive=script,serial=script']
        try:
            done = subprocess.run(words, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=timeout_s)
        except subprocess.TimeoutExpired as e:
            self.console = (e.stdout or b'').decode(errors='replace')
            raise AssertionError(self.console)
        self.console = done.stdout.decode(errors='replace')
        _before, begin, printed = self.console.partition(f'{_BEGIN}\n')
        printed, end, _after = printed.partition(f'{_END}\n')
        if not begin or not end:
            raise AssertionError(self.console)
        return printed

    def _write_initramfs(self, booted, init):
        path = pathlib.Path(self.folder, f'initramfs-{booted.release}')
        archive = initramfs.pack(booted.modules())
        if init is not None:
            # of two archives behind each other the kernel keeps the last
            archive += cpio.pack([('init', stat.S_IFREG | 0o755,
                                   init.encode())])
        path.write_bytes(archive)
        return str(path)


def install(tree, *programs):
    """Put programs of this host into a tree, with the libraries they need."""
    for program in programs:
        listed = subprocess.run(['ldd', program], check=True,
                                stdout=subprocess.PIPE, text=True).stdout
        for path in [program, *re.findall(r'(/\S+) \(0x', listed)]:
            target = tree / path.lstrip('/')
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copy(path, target)


def make_tree(folder):
    """Make a folder that a base can be made from: busybox and a script."""
    tree = pathlib.Path(folder)
    for name in ('bin', 'sbin', 'etc', 'dev', 'proc', 'sys', 'run', 'tmp'):
        (tree / name).mkdir(parents=True)
    busybox = pathlib.Path(initramfs.BUSYBOX).read_bytes()
    (tree / 'bin/busybox').write_bytes(busybox)
    (tree / 'bin/busybox').chmod(0o755)
    listed = subprocess.run([initramfs.BUSYBOX, '--list'], check=True,
                            stdout=subprocess.PIPE, text=True).stdout
    for applet in listed.split():
        if applet != 'busybox':
            (tree / 'bin' / applet).symlink_to('busybox')
    init = tree / 'sbin/init'
    init.write_text(_FIRST_PROCESS)
    init.chmod(0o755)
    return tree
