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
the cause. The module supermin tells what it is made from.
"""

import base64
import contextlib
import dataclasses
import os
import queue
import subprocess
import tempfile
import time
import uuid

from oslo_log import log
from oslo_utils import units

from nova_flexmem import exception
from nova_flexmem.image import answers
from nova_flexmem.image import supermin
from nova_flexmem import process

LOG = log.getLogger(__name__)

#: Processors of each start. With two, the appliance's kernel may probe its
#: disks side by side; with one it seldom comes to that (on a host with twice
#: the work it has time for, 6 of 10 starts with two and none of 10 with one).
_PROCESSORS = (2, *[1] * 9)

#: What one command may answer: a folder of an image has any number of names.
_MAX_ANSWER_BYTES = 64 << 20

#: With QEMU's own, less than 1 GiB.
_MEMORY_MIB = 768

#: What libvirt has QEMU forbid itself (seccomp), too.
_SANDBOX = ('on,obsolete=deny,elevateprivileges=deny,spawn=deny,'
            'resourcecontrol=deny')

#: Programs learn of most writes that fail later, or never; the kernel says so.
_CHECK_WRITES = r"""
    sync
    if dmesg | grep 'error, dev sd.*:(WRITE)' >&2; then
        exit 1
    fi"""


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
    :param below: paths of backing files of its disks
    """

    def __init__(self, home, drives, *, timeout_s, file_size_bytes, below=()):
        self._home = home
        self._drives = drives
        self._below = below
        self._tmp = os.path.dirname(drives[0].path)
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._limits = process.Limits(
            address_space_bytes=16 * units.Gi,
            file_size_bytes=max(file_size_bytes, 5 * units.Gi),  # overlays
            cpu_s=int(timeout_s) * 4)
        self._marker = uuid.uuid4().hex

    def __enter__(self):
        for processors in _PROCESSORS:
            if self._start(processors):
                return self
        raise exception.ProgramFailed(
            program='guestfish', reason="the first disk is not the"
            f" appliance's /dev/sda, {len(_PROCESSORS)} times")

    def _start(self, processors):
        """Start it; return whether it is of use.

        Its kernel probes disks side by side, and may name the first one, which
        libguestfs calls /dev/sda, otherwise. Scripts, and some commands of
        libguestfs (seen with 1.48), take another one for it then.
        """
        # short, as paths of sockets must be; what is killed leaves files
        self._own = tempfile.TemporaryDirectory(
            prefix='flexmem-', ignore_cleanup_errors=True)
        self._popen = process.start(
            'guestfish', limits=self._limits, env=supermin.environment(
                self._home, self._tmp, self._own.name),
            files=self._files())
        self._answers = answers.Answers(self._popen.stdout, _MAX_ANSWER_BYTES)
        self._errors = answers.Errors(self._popen.stderr)
        try:
            for drive in self._drives:
                self.command('add-drive', drive.path,
                             f'readonly:{str(drive.readonly).lower()}',
                             f'format:{drive.format}',
                             f'label:{drive.label}')
            # not to wait for space on the host for hours
            self.command('config', '-global', 'scsi-hd.werror=report')
            self.command('config', '-sandbox', _SANDBOX)
            self.command('set-smp', str(processors))
            self.command('set-memsize', str(_MEMORY_MIB))
            self.command('run')
            first = self.shell(f'readlink -f {self._drives[0].device}')
            if first == ['/dev/sda']:
                return True
            LOG.debug('The appliance starts anew: its first disk is %s', first)
            self.command('shutdown')
        except BaseException:
            self._end()
            raise
        self._end()
        return False

    def _files(self):
        """Return what it may read and what it may change, two lists."""
        read, write = supermin.make(self._home, self._tmp, self._timeout_s)
        for drive in self._drives:
            (read if drive.readonly else write).append(drive.path)
        return [*read, *self._below], [*write, self._own.name]

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
        self._answers.expect()
        try:
            self._popen.stdin.write(f'{line}\necho {self._marker}\n')
            self._popen.stdin.flush()
        except OSError:
            pass  # it ended; its output says why
        lines = []
        while (answer := self._next_line()) != self._marker:
            if answer is None:
                raise exception.ProgramFailed(program='guestfish',
                                              reason=self._why(words[0]))
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
            return self._answers.next(
                max(0, self._deadline - time.monotonic()))
        except queue.Empty:
            self._end()
            raise exception.ProgramFailed(
                program='guestfish',
                reason=f'no end after {self._timeout_s:.0f} s')

    def _why(self, command):
        if self._answers.too_long:
            self._popen.kill()
            return (f'the answer to {command} is over'
                    f' {_MAX_ANSWER_BYTES >> 20} MiB')
        returncode = self._popen.wait()
        return process.reason(returncode, self._errors.cause())

    def _end(self):
        with contextlib.suppress(OSError):  # it ended by itself
            self._popen.stdin.close()
        try:
            self._popen.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._own.cleanup()
