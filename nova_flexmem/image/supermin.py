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

"""What the appliance is made from, and where it is kept.

It is libguestfs's own plus the packages that make a base's root filesystem, by
libguestfs's own means (supermin, see guestfs(3) LIBGUESTFS_PATH): nothing of
the system's libguestfs is changed. Augeas's grammars of files that inspection
does not read are left out, as Augeas compiles all that it has at each
inspection.
"""

import contextlib
import fcntl
import glob
import os
import re
import uuid

from nova_flexmem import accel
from nova_flexmem import exception
from nova_flexmem import files
from nova_flexmem import process

#: Packages the appliance needs beyond libguestfs's own choice.
_PACKAGES = ('erofs-utils',)

#: Augeas's grammars for what inspect-os reads (guestfsd's
#: inspect_fs_unix.ml): /etc/fstab, mdadm.conf, /etc/sysconfig/network.
_LENSES = ('fstab', 'mdadm_conf', 'shellvars')
_LENSES_FOLDER = '/usr/share/augeas/lenses/dist'

#: A grammar's use of another one: Util.del_str is of util.aug.
_LENS_USED = re.compile(r'\b([A-Z]\w*)\.')

#: The file by which libguestfs knows an appliance that it need not make.
_FIXED = 'README.fixed'

#: What it takes with Debian 12, and more than it writes at once when it runs.
_MADE_BYTES, _LITTLE_BYTES = 400 << 20, 4 << 20

#: Where distributions install libguestfs's supermin appliance.
_SYSTEM_APPLIANCE = ('/usr/lib/*-linux-gnu/guestfs/supermin.d',
                     '/usr/lib64/guestfs/supermin.d',
                     '/usr/lib/guestfs/supermin.d')


def environment(home, tmp, own):
    """Return guestfish's environment; sets up the appliance's parts in home.

    :param tmp: a folder for its temporary files
    :param own: a folder with a short path, for its sockets, and for what it
        finds out about QEMU
    :raises: ProgramFailed if libguestfs is not installed
    """
    system = next((folder for pattern in _SYSTEM_APPLIANCE
                   for folder in glob.glob(pattern)), None)
    if system is None:
        raise exception.ProgramFailed(
            program='guestfish', reason='libguestfs is not installed (no'
            ' supermin.d folder); install guestfish and libguestfs-xfs')
    parts = os.path.join(home, 'supermin.d')
    for folder in (parts, os.path.join(home, 'cache')):
        os.makedirs(folder, exist_ok=True)
    _link_all(system, parts)
    add_packages(home, 'flexmem', _PACKAGES)
    _leave_out(home, _unused_lenses())
    return {'LIBGUESTFS_BACKEND': 'direct',
            'LIBGUESTFS_BACKEND_SETTINGS':
                '' if accel.kvm_works() else 'force_tcg',
            'LIBGUESTFS_PATH': _made(home),
            'LIBGUESTFS_CACHEDIR': own,
            'LIBGUESTFS_TMPDIR': tmp,
            'TMPDIR': tmp,  # QEMU's
            'XDG_RUNTIME_DIR': own}


def make(home, tmp, timeout_s):
    """Make the appliance, unless it is up to date.

    guestfish could do that, but reads images, and so must not be able to
    change what later builds use.

    :param tmp: a folder for temporary files
    :returns: (paths that guestfish has to read, paths that it has to change)
    :raises: ProgramFailed
    """
    cache = os.path.dirname(_made(home))
    os.makedirs(cache, 0o755, exist_ok=True)
    # as libguestfs does it
    process.run('supermin', '--build', '--if-newer', '--lock',
                os.path.join(cache, 'lock'), '--copy-kernel', '-f', 'ext2',
                '--host-cpu', 'x86_64', os.path.join(home, 'supermin.d'), '-o',
                _made(home), timeout_s=timeout_s, env={'TMPDIR': tmp})
    # another build may make it anew meanwhile
    with contextlib.suppress(FileNotFoundError):
        with open(os.path.join(_made(home), _FIXED), 'w', encoding='ascii'):
            pass
        # supermin goes by the time of the oldest one, and gives the kernel
        # that of the host's
        for name in os.listdir(_made(home)):
            os.utime(os.path.join(_made(home), name))
    # root's libguestfs has its sockets there, whatever it is told
    sockets = ['/tmp'] if os.geteuid() == 0 else []
    return [_made(home)], [tmp, *sockets]


def _made(home):
    return os.path.join(home, 'cache', f'.guestfs-{os.geteuid()}',
                        'appliance.d')


def add_packages(home, name, packages):
    """Have more packages in the appliance, from now on.

    :param name: who needs them
    """
    path = os.path.join(home, 'supermin.d', f'zz-packages-{name}')
    if not os.path.exists(path):
        _write_part(home, path, packages)


def _leave_out(home, paths):
    """Have no files of these paths in the appliance."""
    path = os.path.join(home, 'supermin.d', 'zz-excludefiles-flexmem')
    lines = [f'-{path}' for path in paths]
    # supermin makes the appliance anew if the file has changed
    with contextlib.suppress(FileNotFoundError):
        with open(path, encoding='ascii') as f:
            if f.read().splitlines() == lines:
                return
    _write_part(home, path, lines)


def _unused_lenses():
    """Return the paths of the grammars that inspection has no use for."""
    try:
        found = {name.removesuffix('.aug') for name in
                 os.listdir(_LENSES_FOLDER) if name.endswith('.aug')}
    except FileNotFoundError:
        return []
    used, new = set(), found & set(_LENSES)
    while new:
        name = new.pop()
        used.add(name)
        with open(os.path.join(_LENSES_FOLDER, f'{name}.aug'),
                  encoding='utf-8') as f:
            others = {other.lower() for other in _LENS_USED.findall(f.read())}
        new |= others & found - used
    return [os.path.join(_LENSES_FOLDER, f'{name}.aug')
            for name in sorted(found - used)]


def _write_part(home, path, lines):
    """Write one of the files that supermin reads, atomically."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    # not in that folder, as supermin reads all that is in it
    temporary = os.path.join(home, uuid.uuid4().hex)
    with open(temporary, 'x', encoding='ascii') as f:
        f.writelines(f'{line}\n' for line in lines)
    os.rename(temporary, path)


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
