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
same kernel, busybox and version of this package.
"""

import hashlib
import os
import stat

from nova_flexmem.build import cpio
from nova_flexmem.build import ownkernel
from nova_flexmem import exception
from nova_flexmem import guest

BUSYBOX = '/bin/busybox'

_APPLETS = ('sh', 'cat', 'chmod', 'chown', 'chroot', 'echo', 'find', 'grep',
            'insmod', 'ln', 'mkdir', 'mount', 'mv', 'od', 'poweroff',
            'readlink', 'rm', 'sleep', 'stat', 'switch_root', 'sync', 'tail',
            'umount', *ownkernel.APPLETS)
_FOLDERS = ('.', 'bin', 'dev', ownkernel.FOLDER, 'modules', 'proc', 'run',
            'sys')
_GUEST = os.path.dirname(guest.__file__)

#: Where /init finds the modules, and the order to load them in.
_MODULE = 'modules/{}.ko'
_ORDER = 'modules/order'

_FOLDER_MODE = stat.S_IFDIR | 0o755
_PROGRAM_MODE = stat.S_IFREG | 0o755
_FILE_MODE = stat.S_IFREG | 0o644
_LINK_MODE = stat.S_IFLNK | 0o777

#: The scripts, and their modes.
_SCRIPTS = {'init': _PROGRAM_MODE, 'direct.sh': _FILE_MODE,
            'programs.sh': _FILE_MODE}


def pack(modules):
    """Return an initramfs, a newc archive.

    It is not compressed: guests take it from the host's page cache, and would
    spend time on unpacking it.

    :param modules: (name, content) of each module, in the order of loading
    :raises: ProgramFailed if busybox cannot be used; OSError
    """
    return cpio.pack(_members(modules))


def version():
    """Return a text that is another one where pack() makes another archive.

    The host's busybox has no part in it.
    """
    return hashlib.sha256(repr(
        [(name, mode, content) for name, mode, content in _members((), b'')]
    ).encode()).hexdigest()


def read_modules(archive):
    """Return the modules of an initramfs, as pack() takes them.

    :param archive: the initramfs, bytes
    :returns: (name, content) of each module, in the order of loading
    :raises: ValueError if it is not an initramfs that pack() made
    """
    members = cpio.unpack(archive)
    try:
        return tuple((name.removesuffix('.ko'), members[f'modules/{name}'])
                     for name in members[_ORDER].decode().splitlines())
    except KeyError as e:
        raise ValueError(f'the initramfs has no {e.args[0]}')


def _members(modules, busybox=None):
    """Return what cpio.pack() takes; a folder comes before its files."""
    scripts = {}
    for name in _SCRIPTS:
        with open(os.path.join(_GUEST, name), 'rb') as f:
            scripts[name] = f.read()
    order = ''.join(f'{name}.ko\n' for name, _content in modules).encode()
    return sorted([
        *((name, _FOLDER_MODE, b'') for name in _FOLDERS),
        *((f'bin/{name}', _LINK_MODE, b'busybox') for name in _APPLETS),
        ('bin/busybox', _PROGRAM_MODE,
         _busybox() if busybox is None else busybox),
        *((name, _SCRIPTS[name], content)
          for name, content in scripts.items()),
        *ownkernel.members(),
        *((_MODULE.format(name), _FILE_MODE, content)
          for name, content in modules),
        (_ORDER, _FILE_MODE, order)])


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
