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

"""A guest that starts from a root.pmem of any mkfs, with any /init.

It is as small as can be: QEMU without libvirt, a busybox, and one script.
"""

import contextlib
import io
import os
import re
import shutil
import stat
import subprocess
import tarfile
import time

from nova_flexmem.build import cpio
from nova_flexmem.build import initramfs
from nova_flexmem import emulator
from nova_flexmem.guest import delta
from nova_flexmem import process
from tests.upgrade import model

_MIB = 1 << 20
_BUSYBOX = '/bin/busybox'
_INIT = os.path.join(os.path.dirname(__file__), 'guest', 'init')
_RAM_MIB = 512
_DELTA_BYTES = 256 * _MIB
_REPORT_BYTES = 8 * _MIB
_END_S = 300
_CUT = 'cut the power'

_FILE = re.compile(r'file (\d+) (\d+) \./(.*)')
_LINK = re.compile(r"link '?\./(.*?)'? -> '?(.*?)'?")
_SHA256 = re.compile(r'([0-9a-f]{64})  \./(.*)')


class DidNotReport(AssertionError):
    """The guest ended without saying what it sees."""


def make_root(path, tree):
    """Make the folder of a guest's system with a model.Tree in it."""
    for name in 'bin', 'dev', 'proc', 'run', 'sbin', 'sys', 'tmp':
        os.makedirs(os.path.join(path, name))
    shutil.copy(_BUSYBOX, f'{path}/bin/busybox')
    for applet in process.run(_BUSYBOX, '--list', timeout_s=60).split():
        if applet != 'busybox':
            os.symlink('busybox', f'{path}/bin/{applet}')
    shutil.copy(_INIT, f'{path}/sbin/init')
    os.chmod(f'{path}/sbin/init', 0o755)
    tree.write(path + model.FOLDER)


def new_delta(path):
    """Make the delta of a new instance."""
    delta.create(path, _DELTA_BYTES)


def write_initramfs(path, kernel, init=None):
    """Write the initramfs of a guest.

    :param kernel: a kernel.Kernel
    :param init: the content of another /init than the package's
    """
    archive = initramfs.pack(kernel.modules)
    if init:  # of two archives the later one counts
        archive += cpio.pack([('init', stat.S_IFREG | 0o755, init)])
    with open(path, 'xb') as f:
        f.write(archive)


class Guest:
    """One start of an instance.

    :param folder: an empty folder for what only this start needs
    :param root_pmem: path of the root.pmem
    :param kernel: path of the kernel
    :param initramfs: path of the initramfs
    :param kernel_args: what /init is told
    """

    def __init__(self, folder, root_pmem, kernel, initramfs, kernel_args):
        self._folder = folder
        self._root_pmem = root_pmem
        self._kernel = kernel
        self._initramfs = initramfs
        self._kernel_args = kernel_args
        self.console = ''

    def run(self, delta_path, edits='', cut=False):
        """Start it, have it do some edits, and end it.

        :param edits: a shell script; empty: none
        :param cut: whether its power is cut, when its writes are on the disk
        :returns: {path: model.Seen}, what the guest sees at its start and,
            if there are edits, behind them
        :raises: DidNotReport
        """
        order, report = (os.path.join(self._folder, name)
                         for name in ('script', 'report'))
        _write_order(order, {'edits': edits} | ({'cut': ''} if cut else {}))
        with open(report, 'wb') as f:
            f.truncate(_REPORT_BYTES)
        self._start(delta_path, order, report, cut)
        with open(report, 'rb') as f:
            content = f.read().rstrip(b'\0').decode()
        if not content.endswith('\nEND\n'):
            raise DidNotReport(self.console[-3000:])
        return [_seen(part.splitlines())
                for part in content.split('\nEDITED\n')]

    def _start(self, delta_path, order, report, cut):
        size = os.path.getsize(self._root_pmem)
        log = os.path.join(self._folder, 'console')
        disks = []
        for path, serial in ((delta_path, 'flexmem-delta'),
                             (order, 'script'), (report, 'report')):
            disks += ['-drive', f'file={path},format=raw,if=none,id={serial}',
                      '-device', f'virtio-blk-pci,drive={serial},'
                      f'serial={serial}']
        qemu = subprocess.Popen(
            ['setpriv', '--pdeathsig', 'KILL', '--', emulator.find().program,
             '-machine', 'pc,nvdimm=on', '-accel', 'tcg', '-cpu', 'max',
             '-m', f'{_RAM_MIB}M,slots=1,maxmem='
             f'{_RAM_MIB + (size >> 20) + 1024}M',
             '-object', 'memory-backend-file,id=pmem,share=on,readonly=on,'
             f'mem-path={self._root_pmem},size={size},align=2M',
             '-device', 'nvdimm,memdev=pmem,unarmed=on', *disks,
             '-nodefaults', '-display', 'none', '-no-reboot',
             '-serial', f'file:{log}', '-kernel', self._kernel,
             '-initrd', self._initramfs, '-append',
             'console=ttyS0 panic=-1 no_timer_check mitigations=off'
             f' loglevel=4 {self._kernel_args}'],
            stdin=subprocess.DEVNULL)
        ends_s = time.monotonic() + _END_S
        try:
            while qemu.poll() is None and time.monotonic() < ends_s:
                time.sleep(0.1)
                self._read_console(log)
                if cut and _CUT in self.console:
                    break
        finally:
            qemu.kill()
            qemu.wait()
            self._read_console(log)

    def _read_console(self, log):
        with contextlib.suppress(FileNotFoundError):  # as yet
            with open(log, errors='replace') as f:
                self.console = f.read()


def _write_order(path, files):
    with tarfile.open(path, 'w') as tar:
        for name, text in files.items():
            content = text.encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def _seen(lines):
    found, modes, inodes, names = {}, {}, {}, {}
    for line in lines:
        if match := _SHA256.fullmatch(line):
            sha256, path = match.groups()
            found[path] = sha256
        elif match := _FILE.fullmatch(line):
            mode, inode, path = match.groups()
            modes[path] = int(mode, 8)
            inodes[path] = inode
            names.setdefault(inode, set()).add(path)
        elif match := _LINK.fullmatch(line):
            path, target = match.groups()
            found[path] = model.Seen('link', target)
        elif line.startswith('./'):
            found[line[2:]] = model.Seen('folder')
    return {path: seen if isinstance(seen, model.Seen) else model.Seen(
        'file', seen, modes.get(path, 0),
        frozenset(names.get(inodes.get(path), ()))) for path, seen
        in found.items()}
