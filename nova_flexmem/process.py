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

"""Runs helper programs.

A helper program has a time limit and resource limits, is killed when the
process that started it ends, and cannot gain privileges. No shell is involved.
"""

import dataclasses
import shutil
import subprocess

from oslo_concurrency import processutils
from oslo_utils import units

from nova_flexmem import exception
from nova_flexmem import sandbox

#: Time limit of a helper that writes a disk: a fixed part, and the least speed
#: in bytes/s for the rest.
_DISK_S = 600
_DISK_SPEED = 20 * units.Mi

#: Kills the program when its starter dies, and disables setuid programs.
_GUARD = ('setpriv', '--pdeathsig', 'KILL', '--no-new-privs', '--')

#: CPU seconds between SIGXCPU and SIGKILL. If both limits were equal, the
#: kernel would send only SIGKILL, which also ends programs when memory is
#: short: the two causes could not be told apart.
_LAST_CPU_S = 5

#: The environment of helper programs: English messages, UTC, no user files.
_ENVIRONMENT = {'LC_ALL': 'C.UTF-8', 'TZ': 'UTC', 'HOME': '/',
                'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:'
                        '/sbin:/bin'}


@dataclasses.dataclass(frozen=True)
class Limits:
    """Resource limits of a helper program (setrlimit(2)); None: no limit."""

    address_space_bytes: int | None = 4 * units.Gi
    file_size_bytes: int | None = 64 * units.Gi
    cpu_s: int | None = 600


def environment(**extra):
    """Return the environment of helper programs, a dict.

    It has nothing of this process's own environment.

    :param extra: more variables
    """
    return _ENVIRONMENT | extra


def run(*argv, timeout_s, limits=Limits(), env=None, stdin=None,
        expected=(0,)):
    """Run a program to its end.

    :param timeout_s: wall-clock seconds after which it is killed
    :param limits: the Limits of the program
    :param env: more environment variables, a dict
    :param stdin: text for standard input
    :param expected: exit codes that mean success
    :returns: standard output, text
    :raises: ProgramFailed with the last line of standard error
    """
    try:
        out, _err = processutils.execute(
            *_GUARD, *_prlimit(limits), *argv, timeout=timeout_s,
            process_input=stdin, check_exit_code=list(expected),
            env_variables=environment(**(env or {})), on_completion=_end)
    except processutils.ProcessExecutionError as e:
        raise exception.ProgramFailed(
            program=argv[0], reason=reason(e.exit_code, e.stderr),
            code=e.exit_code)
    except OSError as e:
        raise exception.ProgramFailed(program=argv[0], reason=str(e))
    except Exception as e:
        # by its name: eventlet has copies of the subprocess module
        if type(e).__name__ != 'TimeoutExpired':
            raise
        raise exception.ProgramFailed(
            program=argv[0], reason=f'no end after {timeout_s:.0f} s')
    return out


def write_disk(*argv, size_bytes, timeout_s=None):
    """Run a helper program that writes a disk.

    :param size_bytes: size of the disk; the file size limit has room for the
        tables of a qcow2 as well
    :param timeout_s: as for run(); None: derived from the size
    :raises: ProgramFailed as run() does
    """
    seconds = timeout_s or _DISK_S + size_bytes // _DISK_SPEED
    run(*argv, timeout_s=seconds, limits=Limits(
        file_size_bytes=size_bytes + size_bytes // 64 + 64 * units.Mi,
        cpu_s=int(seconds)))


def _prlimit(limits):
    """Return the command prefix that sets limits."""
    options = {'as': limits.address_space_bytes,
               'fsize': limits.file_size_bytes, 'core': 0,
               'cpu': limits.cpu_s and
               f'{limits.cpu_s}:{limits.cpu_s + _LAST_CPU_S}'}
    return ('prlimit', *(f'--{name}={value}'
                         for name, value in options.items()
                         if value is not None), '--')


def _end(popen):
    """Kill a program after its timeout; processutils leaves it running."""
    if popen.poll() is None:
        popen.kill()
        popen.wait()


def start(*argv, limits=Limits(), env=None, cwd=None, files=None):
    """Start a program and talk to it over pipes.

    :param limits: the Limits of the program
    :param env: more environment variables, a dict
    :param cwd: its working directory
    :param files: (paths that it may read, paths that it may change), limits
        that the host's kernel may not have, see sandbox; None: no limit
    :returns: a subprocess.Popen with text pipes; the caller ends the program
    :raises: ProgramFailed if the program cannot be started
    """
    try:
        return subprocess.Popen(
            [*_GUARD, *_prlimit(limits),
             *(sandbox.command(*files) if files else ()), *argv],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, errors='replace',
            env=environment(**(env or {})), cwd=cwd, bufsize=1,
            start_new_session=True)
    except OSError as e:
        raise exception.ProgramFailed(program=argv[0], reason=str(e))


def daemon(*argv, log_path):
    """Start a daemon in the foreground, as a child and without limits.

    The daemon gets SIGTERM when this process dies.

    :param log_path: file that the daemon's output is appended to
    :returns: a subprocess.Popen; the caller ends the daemon
    :raises: ProgramFailed if the daemon cannot be started
    """
    try:
        with open(log_path, 'ab') as log_file:
            return subprocess.Popen(
                ['setpriv', '--pdeathsig', 'TERM', '--', *argv],
                stdin=subprocess.DEVNULL, stdout=log_file, stderr=log_file,
                env=environment(), start_new_session=True)
    except OSError as e:
        raise exception.ProgramFailed(program=argv[0], reason=str(e))


def reason(returncode, stderr):
    """Return why a program failed, one line.

    :param returncode: its exit code, or minus the signal that ended it
    :param stderr: what it wrote to standard error, text
    """
    lines = [line.strip() for line in (stderr or '').splitlines()
             if line.strip()]
    if lines:
        return lines[-1][:500]
    if returncode and returncode < 0:
        return f'ended by signal {-returncode}'
    return f'exit code {returncode}'


def available(program):
    """Return whether a program is in the PATH of helper programs."""
    return shutil.which(program, path=_ENVIRONMENT['PATH']) is not None
