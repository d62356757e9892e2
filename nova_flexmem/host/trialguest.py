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

"""Checks that a guest boots here the way that FlexMem guests do.

The guest is a kernel of the host, with the hand-over code, this package's
/init, a FlexMem device and a delta. In place of an image's system there is
busybox with a script that prints a line and switches off.
"""

import os
import re
import time
import uuid

from oslo_utils import units

from nova_flexmem import accel as accel_module
from nova_flexmem.build import bootfiles
from nova_flexmem.build import handover
from nova_flexmem.build import initramfs
from nova_flexmem import exception
from nova_flexmem.guest import delta
from nova_flexmem.guest import device as flexmem_device
from nova_flexmem.guest import qemuargs
from nova_flexmem.host import qemu
from nova_flexmem.host import trialrecord
from nova_flexmem import hostboot
from nova_flexmem.image import foldertree
from nova_flexmem.image import kernel as kernel_module
from nova_flexmem import process
from nova_flexmem.store import superblock

#: With KVM a guest takes 1 to 2 s, without it 10 to 20, or many times that on
#: a busy host.
_TIMEOUTS_S = {'kvm': 60, 'tcg': 600}

#: File beside the appliance: the state in which a guest was last seen to boot.
_RECORD = 'booted.json'

_MARK = 'flexmem: a system started'
_FIRST_PROCESS = f"""#!/bin/busybox sh
/bin/busybox touch /written && echo '{_MARK}' > /dev/console
/bin/busybox poweroff -f
"""


def check(found, home, device, accel, folder):
    """Boot a guest; skipped if one has booted and nothing changed since.

    :param found: the emulator.Emulator
    :param home: the folder that keeps the record
    :param device: name of a driver in namespace nova_flexmem.device
    :param accel: 'kvm' or 'tcg'
    :param folder: folder for the guest's files; it has to be in the store,
        because the filesystem matters
    :returns: the result, one sentence
    :raises: HostUnfit if the guest does not boot; OSError
    """
    record = os.path.join(home, _RECORD)
    state = _state(device, accel, found)
    if trialrecord.read(record) == state:
        return 'a guest has booted since the host booted; nothing has changed'
    try:
        kernel = kernel_module.find(foldertree.FolderTree('/'),
                                    'this host')
    except exception.ImageRefused as e:
        # the appliance's check says if there is none at all
        return f'no guest was booted: {e}'
    if device not in kernel.devices:
        return (f'no guest was booted: the kernel {kernel.release} of this'
                f' host has no driver for {device}')
    began = time.monotonic()
    _boot(_Files(folder, kernel), device, accel, found)
    trialrecord.write(record, state)
    return (f'a guest booted from {device} in {time.monotonic() - began:.0f} s'
            f' with {accel.upper()}')


def _state(device, accel, found):
    """Return what tells whether a guest may boot otherwise, for JSON."""
    paths = [accel_module.newest_host_kernel() or '', initramfs.BUSYBOX,
             found.program]
    return [hostboot.boot_id(), bootfiles.boot_id(), device, accel,
            [trialrecord.version(path) for path in paths]]


class _Files:
    """The files of the guest.

    :ivar rootfs: name of the root filesystem
    :ivar uuid: of the root filesystem
    :ivar size_bytes: of root.pmem
    """

    def __init__(self, folder, kernel):
        self.folder = os.path.join(folder, 'guest')
        self.rootfs = kernel.rootfs[0]
        self.uuid = str(uuid.uuid4())
        os.mkdir(self.folder)
        handover.write(self.folder, kernel.image,
                       initramfs.pack(kernel.modules))
        delta.create(self.path('delta'), delta.MIN_SIZE_BYTES)
        self.size_bytes = self._make_root_pmem()

    def path(self, name):
        return os.path.join(self.folder, name)

    def _make_root_pmem(self):
        tree = self.path('tree')
        for name in ('bin', 'sbin', 'dev', 'proc', 'sys', 'run'):
            os.makedirs(os.path.join(tree, name))
        with (open(initramfs.BUSYBOX, 'rb') as source,
              open(os.path.join(tree, 'bin/busybox'), 'wb') as f):
            f.write(source.read())
        with open(os.path.join(tree, 'sbin/init'), 'w') as f:
            f.write(_FIRST_PROCESS)
        for name in ('bin/busybox', 'sbin/init'):
            os.chmod(os.path.join(tree, name), 0o755)
        filesystem = self.path('filesystem')
        if self.rootfs == kernel_module.EROFS:
            process.run('mkfs.erofs', '--quiet', '-E', 'noinline_data', '-U',
                        self.uuid, filesystem, tree, timeout_s=60)
        else:
            process.run('mke2fs', '-q', '-t', 'ext4', '-b', '4096', '-U',
                        self.uuid, '-d', tree, filesystem, '32M',
                        timeout_s=60)
        with open(filesystem, 'rb') as f:
            content = f.read()
        size = superblock.padded(superblock.DATA_OFFSET_BYTES + len(content))
        with open(self.path('root.pmem'), 'xb') as f:
            f.write(superblock.pack(size, self.uuid))
            f.write(content.ljust(size - superblock.DATA_OFFSET_BYTES, b'\0'))
        os.chmod(self.path('root.pmem'), 0o444)
        return size


def _boot(files, device, accel, found):
    """Boot the guest until it switches off.

    :param found: the emulator.Emulator
    :raises: HostUnfit
    """
    loaded = qemu.load(device)
    chipset, machine = next(iter(qemu.machines(found).items()))
    console, disk = (qemuargs.escape(files.path(name))
                     for name in ('console', 'delta'))
    try:
        process.run(
            found.program, '-nodefaults', '-no-user-config', '-no-reboot',
            '-display', 'none', '-machine', f'{machine},accel={accel}',
            '-cpu', 'max', '-m', f'size=256M,slots=1,maxmem={1 << 30}',
            '-chardev', f'file,id=console,path={console}', '-serial',
            'chardev:console', '-kernel', files.path('kernel'), '-initrd',
            files.path('initramfs'), '-append', 'console=ttyS0 quiet panic=-1'
            f' flexmem.base={files.uuid} flexmem.rootfs={files.rootfs}'
            ' swiotlb=noforce',
            *flexmem_device.memory_backend(files.path('root.pmem'),
                                           files.size_bytes),
            *loaded.arguments(chipset, 0), '-drive',
            f'file={disk},if=none,id=delta,format=raw', '-device',
            'virtio-blk-pci,drive=delta,serial=flexmem-delta',
            timeout_s=_TIMEOUTS_S[accel],
            limits=process.Limits(address_space_bytes=16 * units.Gi,
                                  cpu_s=2 * _TIMEOUTS_S[accel]))
        reason = ''
    except exception.ProgramFailed as e:
        reason = f'{e}; '
    console = _console(files.path('console'))
    if _MARK not in console:
        raise exception.HostUnfit(
            reason=f'a guest with this version\'s hand-over code and /init'
            f' does not boot from {device} with {accel.upper()}: {reason}its'
            f' console ends with "{_last(console)}"; try another QEMU (7.2 is'
            ' known to work), or set [flexmem] device to the other device')


def _console(path):
    try:
        with open(path, errors='replace') as f:
            return f.read(units.Mi)
    except OSError:
        return ''  # QEMU has not even started


def _last(console):
    """Return the line of a console that tells most about a failure."""
    lines = [line.strip() for line in console.splitlines() if line.strip()]
    telling = [line for line in lines
               if re.search(r'FATAL: (?!the guest)|panic', line)]
    return (telling or lines or ['nothing'])[-1][-200:]
