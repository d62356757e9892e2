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

"""A disk with Python and the means of a hostile guest, for its use."""

import glob
import os
import re
import shutil
import sys
import sysconfig

from nova_flexmem import process

_HERE = os.path.dirname(__file__)
_TIMEOUT_S = 120
_MODULES = ('device_dax', 'dax_pmem')

#: What of Python is not needed.
_LEFT_OUT = ('test', '*-packages', 'config-*', 'idlelib', 'lib2to3', 'pydoc*',
             'ensurepip', '_test*')

#: Where the guest has the disk.
_ROOT = '/hostile'

#: A script that makes it ready.
PREPARE = f'''\
set -e
mkdir {_ROOT}
mount -t erofs -o ro /dev/vdb {_ROOT}
for folder in dev proc sys run; do
    mount --rbind /$folder {_ROOT}/$folder
done
renice -n 19 -p 1
'''


def use(name):
    """Return a script that uses one means."""
    return (f'export PYTHONPATH=/srv; exec chroot {_ROOT} {_python()}'
            f' -m tests.drills.hostile {name}')


def create(path, folder, release):
    """Make the disk.

    :param path: of the file to make
    :param folder: for what goes into it
    :param release: of the guest's kernel, which is one of the host's too
    """
    for name in ('dev', 'proc', 'sys', 'run', 'modules'):
        os.makedirs(os.path.join(folder, name))
    for name in _MODULES:
        [module] = glob.glob(f'/lib/modules/{release}/kernel/**/{name}.ko',
                             recursive=True)
        shutil.copy(module, os.path.join(folder, 'modules'))
    shutil.copytree(
        os.path.join(_HERE, 'hostile'),
        os.path.join(folder, 'srv/tests/drills/hostile'))
    library = sysconfig.get_path('stdlib')
    shutil.copytree(library, os.path.join(folder, library.lstrip('/')),
                    ignore=shutil.ignore_patterns(*_LEFT_OUT),
                    ignore_dangling_symlinks=True)
    for program in _python(), *glob.glob(f'{library}/lib-dynload/_ctypes.*'):
        _install(program, folder)
    process.run('mkfs.erofs', '--quiet', path, folder, timeout_s=_TIMEOUT_S)


def _python():
    return os.path.realpath(sys.executable)


def _install(program, folder):
    """Copy a program and its libraries."""
    listed = process.run('ldd', program, timeout_s=_TIMEOUT_S)
    for path in [program, *re.findall(r'(/\S+) \(0x', listed)]:
        target = os.path.join(folder, path.lstrip('/'))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(path, target)
