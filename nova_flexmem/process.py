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

"""Helper programs: the one place that runs them.

Each one gets a time limit and resource limits, dies with the process that
started it, and may not gain privileges. Nothing goes through a shell.
"""

import dataclasses
import os
import subprocess

from oslo_concurrency import processutils

from nova_flexmem import exception

GIB = 1 << 30
MIB = 1 << 20

#: Seconds that a helper may take for any disk, and how fast it writes one at
#: least, in bytes/s.
_DISK_S = 600
_DISK_SPEED = 20 * MIB

#: Kills the program when its starter dies, and stops setuid from working.
_GUARD = ('setpriv', '--pdeathsig', 'KILL', '--no-new-privs', '--')

#: Between SIGXCPU and SIGKILL. With no time between, the kernel sends only
#: the latter, by which programs also end where memory is short.
_LAST_CPU_S = 5

#: The environment of helper programs: English messages, UTC, no user files.
_ENVIRONMENT = {'LC_ALL': 'C.UTF-8', 'TZ': 'UTC', 'HOME': '/',
                'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:'
                        '/sbin:/bin'}


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a helper program may use (see setrlimit(2)); None: no limit."""

    address_space_bytes: int | None = 4 * GIB
    file_size_bytes: int | None = 64 * GIB
    cpu_s: int | None = 600


def environment(**extra):
    """Return a small, fixed environment for helper programs."""
    return _ENVIRONMENT | extra


def run(*argv, timeout_s, limits=Limits(), env=None, stdin=None,
        expected=(0,)):
    """Run a program to its end.

    :param timeout_s: wall-clock seconds after which it is killed
    :param limits: its Limits
    :param env: more environment variables, a dict
    :param stdin: text for its standard input
    :param expected: exit codes that are no failure
    :returns: its standard output, text
    :raises: ProgramFailed with the end of what it wrote to standard error
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
    """Run a helper that may write a disk of a size, and a qcow2's tables.

    :param timeout_s: as for run(); None: by the size
    :raises: ProgramFailed as run() does
    """
    seconds = timeout_s or _DISK_S + size_bytes // _DISK_SPEED
    run(*argv, timeout_s=seconds, limits=Limits(
        file_size_bytes=size_bytes + size_bytes // 64 + 64 * MIB,
        cpu_s=int(seconds)))


def _prlimit(limits):
    """Return the beginning of a command that keeps to limits."""
    options = {'as': limits.address_space_bytes,
               'fsize': limits.file_size_bytes, 'core': 0,
               'cpu': limits.cpu_s and
               f'{limits.cpu_s}:{limits.cpu_s + _LAST_CPU_S}'}
    return ('prlimit', *(f'--{name}={value}'
                         for name, value in options.items()
                         if value is not None), '--')


def _end(popen):
    """Kill a program that overran its time; processutils leaves it running."""
    if popen.poll() is None:
        popen.kill()
        popen.wait()


def start(*argv, limits=Limits(), env=None, cwd=None):
    """Start a program to talk to over pipes.

    :returns: a subprocess.Popen with text pipes; the caller ends it
    :raises: ProgramFailed if it can't be started
    """
    try:
        return subprocess.Popen(
            [*_GUARD, *_prlimit(limits), *argv], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors='replace', env=environment(**(env or {})), cwd=cwd,
            bufsize=1, start_new_session=True)
    except OSError as e:
        raise exception.ProgramFailed(program=argv[0], reason=str(e))


def daemon(*argv, log_path):
    """Start a daemon in the foreground, as our child and without limits.

    It is asked to end when its starter dies. Its output goes to log_path.

    :returns: a subprocess.Popen; the caller ends it
    :raises: ProgramFailed if it can't be started
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
    """Say in one line why a program ended, from its code and its words."""
    lines = [line.strip() for line in (stderr or '').splitlines()
             if line.strip()]
    if lines:
        return lines[-1][:500]
    if returncode and returncode < 0:
        return f'ended by signal {-returncode}'
    return f'exit code {returncode}'


def available(program):
    """Return whether a program is on the helpers' PATH."""
    return any(os.access(os.path.join(folder, program), os.X_OK)
               for folder in _ENVIRONMENT['PATH'].split(':'))
