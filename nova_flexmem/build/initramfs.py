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

"""The guest's initramfs: a static busybox, the kernel's modules and one /init.

Nothing in it knows a distribution. It is the same, byte for byte, for the
same kernel and the same version of this package.
"""

import os

from nova_flexmem import exception
from nova_flexmem import files
from nova_flexmem import guest
from nova_flexmem import process

BUSYBOX = '/bin/busybox'

_APPLETS = ('sh', 'cat', 'chown', 'chroot', 'echo', 'grep', 'insmod', 'ln',
            'mkdir', 'mount', 'mv', 'od', 'poweroff', 'readlink', 'rm',
            'sleep', 'stat', 'switch_root', 'sync', 'tr')
_FOLDERS = ('bin', 'dev', 'modules', 'proc', 'run', 'sys')
_INIT = os.path.join(os.path.dirname(guest.__file__), 'init')
_PIECE_BYTES = 64 << 10
_LIMITS = process.Limits(file_size_bytes=1 << 30, cpu_s=60)


def build(path, modules, folder):
    """Write an initramfs.

    It is not compressed: guests take it from the host's page cache, and would
    spend time on unpacking it.

    :param path: the file to write, a newc archive
    :param modules: (name, content) of each module, in the order of loading
    :param folder: an empty folder to work in
    :raises: ProgramFailed if busybox or cpio can't be used; OSError
    """
    root = os.path.join(folder, 'initramfs')
    for name in _FOLDERS:
        os.makedirs(os.path.join(root, name))
    busybox = _busybox()
    with open(_INIT, 'rb') as f:
        init = f.read()
    _install(busybox, os.path.join(root, 'bin', 'busybox'))
    for applet in _APPLETS:
        os.symlink('busybox', os.path.join(root, 'bin', applet))
    _install(init, os.path.join(root, 'init'))
    for name, content in modules:
        with open(os.path.join(root, 'modules', f'{name}.ko'), 'wb') as f:
            f.write(content)
    order = ''.join(f'{name}.ko\n' for name, _content in modules).encode()
    with open(os.path.join(root, 'modules', 'order'), 'wb') as f:
        f.write(order)
    names = _archive(root, path)
    _check(path, names, [busybox, init, order, *(
        content for _name, content in modules)])
    files.discard(root)


def _busybox():
    """Return the program's content."""
    try:
        with open(BUSYBOX, 'rb') as f:
            busybox = f.read()
    except OSError as e:
        raise exception.ProgramFailed(
            program=BUSYBOX, reason=f'{e.strerror}; install busybox-static')
    if b'/ld-linux-x86-64.so' in busybox[:4096]:
        raise exception.ProgramFailed(
            program=BUSYBOX, reason='it is not linked statically; install'
            ' busybox-static')
    return busybox


def _install(content, path):
    # shutil's errors name what is copied where the target's disk is full
    with open(path, 'xb') as f:
        f.write(content)
    os.chmod(path, 0o755)


def _archive(root, path):
    """Write the archive of a folder; returns the names in it."""
    names = ['.']
    for folder, folders, files in os.walk(root):
        folders.sort()
        names += [os.path.relpath(os.path.join(folder, name), root)
                  for name in sorted([*folders, *files])]
    names.sort()
    for name in names:
        member = os.path.join(root, name)
        if not os.path.islink(member):  # whatever the umask is
            mode = 0o755 if os.stat(member).st_mode & 0o100 else 0o644
            os.chmod(member, mode)
        os.utime(member, (0, 0), follow_symlinks=False)
    process.run('cpio', '--quiet', '-o', '-H', 'newc', '--reproducible',
                '-R', '0:0', '-C', str(_PIECE_BYTES), '-D', root, '-F', path,
                stdin='\n'.join(names), timeout_s=60, limits=_LIMITS)
    return names


def _check(path, names, contents):
    """Check that an archive has all that it should have.

    cpio writes zeros for what it can't read of a file, and ends well.
    """
    found = process.run('cpio', '--quiet', '-t', '-F', path, timeout_s=60,
                        limits=_LIMITS).splitlines()
    with open(path, 'rb') as f:
        archive = f.read()
    if found != names or not all(map(archive.__contains__, contents)):
        raise exception.ProgramFailed(
            program='cpio', reason='it could not read all that goes into'
            f' {path}; if the disk there fails, the kernel\'s log says so')
