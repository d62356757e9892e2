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

"""Limits this process and its children to some files, by Landlock.

Numbers and layouts are those of linux/landlock.h; see landlock(7). A rule
allows rights below a path, and nothing takes a right away again; so the rules
leave out files that are private to this user.
"""

import contextlib
import ctypes
import json
import os
import stat
import sys

#: System calls of all architectures, and prctl(2)'s PR_SET_NO_NEW_PRIVS.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_NO_NEW_PRIVS = 38

#: Flag for the ABI's version, and a type of rules.
_VERSION, _PATH_BENEATH = 1, 1

#: The first ABI by which files can be renamed between folders (Linux 5.19).
MINIMUM_ABI = 2

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_MAKE_CHAR, _MAKE_BLOCK, _REFER = 1 << 6, 1 << 11, 1 << 13
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15

#: The ABI that a right came with, and all rights up to it.
_RIGHTS = ((1, (1 << 13) - 1), (2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV))
_TCP = 4, 0b11  # bind and connect
_SCOPES = 6, 0b11  # abstract UNIX sockets and signals

#: Rights that mean something for what is no folder; others give EINVAL.
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV

_READ = _READ_FILE | _READ_DIR
_RUN = _READ | _EXECUTE
_USE = _READ | _WRITE_FILE | _IOCTL_DEV
_CHANGE = ~(_EXECUTE | _MAKE_CHAR | _MAKE_BLOCK | _IOCTL_DEV)

#: What programs need of the system, the package database for supermin.
_SYSTEM = {
    _RUN: ('/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64'),
    # of other processes, /proc tells this user more than is theirs to know
    _READ: ('/boot', '/sys', '/var/lib/dpkg', '/var/lib/rpm',
            *(f'/proc/{name}' for name in (
                'cpuinfo', 'filesystems', 'meminfo', 'self', 'stat', 'sys'))),
    _READ_DIR: ('/dev', '/etc'),
    _USE: tuple(f'/dev/{name}' for name in (
        'full', 'kvm', 'null', 'random', 'urandom', 'zero'))}


def abi():
    """Return the ABI of Landlock in the host's kernel; 0: it has none."""
    return max(0, _libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0),
                                  ctypes.c_uint32(_VERSION)))


def problem():
    """Return why enter() limits nothing on this host, a sentence; or None."""
    if abi() >= MINIMUM_ABI:
        return None
    return ('programs that read images can use all files of this user, as the'
            " host's kernel has no Landlock; boot Linux 5.19 or newer, with"
            ' landlock in its list of security modules (kernel argument lsm=)')


def handled(version):
    """Return what is forbidden unless a rule allows it.

    :param version: an ABI
    :returns: rights to files, to the network, and scopes: as many as
        the ABI's struct landlock_ruleset_attr has
    """
    files = sum(rights for since, rights in _RIGHTS if since <= version)
    return (files, *(bits for since, bits in (_TCP, _SCOPES)
                     if since <= version))


def public(folder):
    """Return paths in a folder below which any user may read all files."""
    entries = [entry for entry in os.scandir(folder)
               if not entry.is_symlink()]
    paths, hidden = [], False
    for entry in entries:
        mode = entry.stat(follow_symlinks=False).st_mode
        below = [entry.path] if mode & stat.S_IROTH else []
        if stat.S_ISDIR(mode) and below:
            below = public(entry.path) if mode & stat.S_IXOTH else []
        hidden |= below != [entry.path]
        paths += below
    return paths if hidden else [folder]


def enter(read, write):
    """Limit this process from now on, if the host's kernel can.

    The system's programs stay usable, and what any user may read in /etc.

    :param read: paths that may be read and run; missing ones do not count
    :param write: paths that may be changed, without running what is there
    :returns: whether it is limited
    :raises: OSError
    """
    if problem():
        return False
    rules = {**_SYSTEM, _CHANGE: write}
    rules[_RUN] += (*public('/etc'), *read)
    files, *others = handled(abi())
    attributes = (ctypes.c_uint64 * (1 + len(others)))(files, *others)
    ruleset = _call(_CREATE_RULESET, attributes,
                    ctypes.c_size_t(ctypes.sizeof(attributes)), 0)
    for rights, paths in rules.items():
        for path in paths:
            with contextlib.suppress(FileNotFoundError, PermissionError):
                _allow(ruleset, path, rights & files)
    if _libc().prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), 'no_new_privs')
    _call(_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
    return True


def command(read, write):
    """Return the words before a command that have it run limited.

    :param read: as enter() takes it
    :param write: as enter() takes it
    """
    # this file alone is loaded, which takes little time
    return (sys.executable, '-I', '-S', __file__,
            json.dumps([[*read], [*write]]))


def _main():
    enter(*json.loads(sys.argv[1]))
    try:
        os.execvp(sys.argv[2], sys.argv[2:])
    except OSError as e:
        sys.exit(f'{sys.argv[2]}: {e.strerror}')


def _allow(ruleset, path, rights):
    opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(opened).st_mode):
            rights &= _OF_FILES
        # packed: the rights, then the open file
        rule = (rights.to_bytes(8, 'little')
                + opened.to_bytes(4, 'little'))
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(opened)


def _libc():
    return ctypes.CDLL(None, use_errno=True)


def _call(number, *arguments):
    result = _libc().syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f'Landlock: {os.strerror(code)}')
    return result


if __name__ == '__main__':
    _main()
