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

"""The libguestfs appliance: a small VM in which tenant filesystems are read.

Tenant bytes meet the appliance's kernel, never the host's. One guestfish is
held open over pipes for a whole build, so that the appliance starts once; it
ends, and the appliance with it, when our end of the pipes closes, whatever
the cause. The appliance is libguestfs's own plus the packages that make a
base's root filesystem, by libguestfs's own means (supermin, see guestfs(3)
LIBGUESTFS_PATH): nothing of the system's libguestfs is changed.
"""

import base64
import collections
import contextlib
import dataclasses
import fcntl
import glob
import os
import queue
import string
import subprocess
import threading
import time
import uuid

from oslo_log import log
from oslo_utils import units

from nova_flexmem import accel
from nova_flexmem import exception
from nova_flexmem import files
from nova_flexmem import process

LOG = log.getLogger(__name__)

#: Packages the appliance needs beyond libguestfs's own choice.
_PACKAGES = ('erofs-utils',)

#: Processors of each start. With two, the appliance's kernel may probe its
#: disks side by side; with one it seldom comes to that (on a host with twice
#: the work it has time for, 6 of 10 starts with two and none of 10 with one).
_PROCESSORS = (2, *[1] * 9)

#: Programs learn of most writes that fail later, or never; the kernel says so.
_CHECK_WRITES = r"""
    sync
    if dmesg | grep 'error, dev sd.*:(WRITE)' >&2; then
        exit 1
    fi"""

#: What it takes with Debian 12, and more than it writes at once when it runs.
_MADE_BYTES, _LITTLE_BYTES = 400 << 20, 4 << 20

#: Where distributions install libguestfs's supermin appliance.
_SYSTEM_APPLIANCE = ('/usr/lib/*-linux-gnu/guestfs/supermin.d',
                     '/usr/lib64/guestfs/supermin.d',
                     '/usr/lib/guestfs/supermin.d')


@dataclasses.dataclass(frozen=True)
class Drive:
    """A disk of the appliance.

    guestfish's commands know the first as /dev/sda and so on.

    :ivar label: letters that name it
    """

    path: str
    format: str
    readonly: bool
    label: str

    @property
    def device(self):
        """The disk's device file in the appliance."""
        return f'/dev/disk/guestfs/{self.label}'


class Appliance:
    """A running appliance; a context manager.

    :param home: a folder for the appliance's image, kept between builds
    :param drives: its disks, a list of Drive; what is written to those that
        are read-only, and to its own, is beside the first meanwhile
    :param timeout_s: seconds that it may live
    :param file_size_bytes: the largest file it may write on the host
    """

    def __init__(self, home, drives, *, timeout_s, file_size_bytes):
        self._home = home
        self._drives = drives
        self._tmp = os.path.dirname(drives[0].path)
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._limits = process.Limits(
            address_space_bytes=16 * units.Gi,
            # supermin's own disk image is 4 GiB, sparse
            file_size_bytes=max(file_size_bytes, 5 * units.Gi),
            cpu_s=int(timeout_s) * 4)
        self._marker = uuid.uuid4().hex
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._errors: collections.deque[str] = collections.deque(maxlen=20)

    def __enter__(self):
        for processors in _PROCESSORS:
            if self._start(processors):
                return self
        raise exception.ProgramFailed(
            program='guestfish', reason='the appliance does not number its'
            ' disks in the order in which they were added,'
            f' {len(_PROCESSORS)} times')

    def _start(self, processors):
        """Start it; return whether it is of use.

        Its kernel probes disks side by side, and may number them in another
        order than libguestfs. That takes one for another then, in some of its
        commands (seen with 1.48).
        """
        # of this start; readers of an earlier one may not be done yet
        self._lines = queue.Queue()
        self._errors = collections.deque(maxlen=20)
        self._popen = process.start('guestfish', limits=self._limits,
                                    env=_environment(self._home, self._tmp))
        self._readers = [
            threading.Thread(target=_read_output, daemon=True,
                             args=(self._popen.stdout, self._lines)),
            threading.Thread(target=_read_errors, daemon=True,
                             args=(self._popen.stderr, self._errors))]
        for reader in self._readers:
            reader.start()
        try:
            for drive in self._drives:
                self.command('add-drive', drive.path,
                             f'readonly:{str(drive.readonly).lower()}',
                             f'format:{drive.format}',
                             f'label:{drive.label}')
            # not to wait for space on the host for hours
            self.command('config', '-global', 'scsi-hd.werror=report')
            self.command('set-smp', str(processors))
            self.command('run')
            found = self.shell('readlink -f ' + ' '.join(
                drive.device for drive in self._drives))
            if found == [f'/dev/sd{letter}' for letter in
                         string.ascii_lowercase[:len(self._drives)]]:
                return True
            LOG.debug('The appliance starts anew: its disks are %s', found)
            self.command('shutdown')
        except BaseException:
            self._end()
            raise
        self._end()
        return False

    def __exit__(self, exc_type, exc, traceback):
        if exc_type is None:
            self.command('umount-all')
            self.shell(_CHECK_WRITES)
            self.command('shutdown')
        self._end()

    def command(self, *words):
        """Run one guestfish command.

        :returns: its output, a list of lines
        :raises: ProgramFailed on an error, which ends the appliance too
        """
        if any(character in word for word in words for character in "'\n"):
            raise exception.ProgramFailed(
                program='guestfish', reason=f'{words!r} cannot be quoted')
        line = ' '.join([words[0], *(f"'{word}'" for word in words[1:])])
        try:
            self._popen.stdin.write(f'{line}\necho {self._marker}\n')
            self._popen.stdin.flush()
        except OSError:
            pass  # it ended; its output says why
        lines = []
        while (answer := self._next_line()) != self._marker:
            if answer is None:
                self._lines.put(None)  # for whoever asks next
                raise exception.ProgramFailed(program='guestfish',
                                              reason=self._why())
            lines.append(answer)
        return lines

    def shell(self, script):
        """Run a shell script in the appliance, outside the tenant's root.

        The tenant's root is at /sysroot there, and none of its programs run.
        It ends at the first command that fails.
        """
        encoded = base64.b64encode(script.encode()).decode()
        return self.command(
            'debug', 'sh',
            f'echo {encoded} | base64 -d | bash -eu -o pipefail')

    def _next_line(self):
        try:
            return self._lines.get(
                timeout=max(0, self._deadline - time.monotonic()))
        except queue.Empty:
            self._end()
            raise exception.ProgramFailed(
                program='guestfish',
                reason=f'no end after {self._timeout_s:.0f} s')

    def _why(self):
        returncode = self._popen.wait()
        for reader in self._readers:
            reader.join(timeout=5)
        # the first one is the cause; the others are what follows from it
        said = [e for e in self._errors if 'error:' in e][:1] or self._errors
        return process.reason(returncode, '\n'.join(said))

    def _end(self):
        with contextlib.suppress(OSError):  # it ended by itself
            self._popen.stdin.close()
        try:
            self._popen.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


def room_bytes(home):
    """Return how large a file may be that an appliance has to write at once.

    Its disk is made anew if it is not there; supermin keeps to itself why it
    could not do that.
    """
    made = glob.glob(os.path.join(home, 'cache', '.guestfs-*', 'appliance.d'))
    return _LITTLE_BYTES if made else _MADE_BYTES


def clean(home):
    """Remove what is left of making an appliance, unless one is being made.

    supermin leaves it there if the disk is full, or if it is killed.

    :raises: OSError
    """
    for path in glob.glob(os.path.join(home, 'cache', '.guestfs-*',
                                       'appliance.d.*')):
        # supermin holds this lock meanwhile
        with open(os.path.join(os.path.dirname(path), 'lock'), 'a') as f:
            with contextlib.suppress(BlockingIOError):
                fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                files.discard(path)


def _read_output(stream, lines):
    for line in stream:
        lines.put(line.rstrip('\n'))
    lines.put(None)


def _read_errors(stream, errors):
    for line in stream:
        if line.strip():
            errors.append(line.strip())


def _environment(home, tmp):
    """Return guestfish's environment; sets up the appliance's parts in home.

    :param tmp: a folder for its temporary files
    :raises: ProgramFailed if libguestfs is not installed
    """
    system = next((found for pattern in _SYSTEM_APPLIANCE
                   for found in glob.glob(pattern)), None)
    if system is None:
        raise exception.ProgramFailed(
            program='guestfish', reason='libguestfs is not installed (no'
            ' supermin.d folder); install guestfish and libguestfs-xfs')
    parts = os.path.join(home, 'supermin.d')
    for folder in (parts, os.path.join(home, 'cache')):
        os.makedirs(folder, exist_ok=True)
    _link_all(system, parts)
    packages = os.path.join(parts, 'zz-packages-flexmem')
    if not os.path.exists(packages):
        temporary = f'{packages}.{uuid.uuid4().hex}'
        with open(temporary, 'w', encoding='ascii') as f:
            f.writelines(f'{package}\n' for package in _PACKAGES)
        os.rename(temporary, packages)
    return {'LIBGUESTFS_BACKEND': 'direct',
            'LIBGUESTFS_BACKEND_SETTINGS':
                '' if accel.kvm_works() else 'force_tcg',
            'LIBGUESTFS_PATH': home,
            'LIBGUESTFS_CACHEDIR': os.path.join(home, 'cache'),
            'LIBGUESTFS_TMPDIR': tmp}


def _link_all(system, parts):
    """Have links in parts to all that is in another folder, and no others.

    supermin fails at one that leads nowhere, such as what a package had there
    that is removed by now.
    """
    names = os.listdir(system)
    for name in {*names, *os.listdir(parts)}:
        target, path = (os.path.join(folder, name)
                        for folder in (system, parts))
        # another build may be at it too
        with contextlib.suppress(FileNotFoundError):
            if os.path.islink(path) and (name not in names
                                         or os.readlink(path) != target):
                os.unlink(path)
        if name in names:
            with contextlib.suppress(FileExistsError):
                os.symlink(target, path)
