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

"""Programs and kernels of other Debian releases, kept in the tests' cache.

They come from the mirror that the host's apt uses, and are only unpacked:
nothing of them is installed, and their programs run with their own libraries.
"""

import functools
import glob
import os
import re
import subprocess

from oslo_concurrency import lockutils

from nova_flexmem.demo import sources
from nova_flexmem import exception
from nova_flexmem.image import foldertree
from nova_flexmem.image import kernel
from nova_flexmem import process
from tests.functional import harness

#: This host's own release.
HERE = 'here'

_PROGRAMS = ('erofs-utils', 'e2fsprogs')
_KERNEL = 'linux-image-cloud-amd64'
_LIBRARIES = 'usr/lib/x86_64-linux-gnu'
_TIMEOUT_S = 600


class Unreachable(Exception):
    """The packages of a release cannot be had here."""


class Release:
    """The programs of a Debian suite, or of this host.

    :param suite: for example trixie, or HERE
    :raises: Unreachable
    """

    def __init__(self, suite):
        self._root = None if suite == HERE else _unpacked(
            f'programs-{suite}', suite, _PROGRAMS)

    def shell(self, script, expected=(0,)):
        """Run a shell script that has the programs of the release.

        :param expected: exit codes that are no failure
        :returns: what it printed
        """
        if self._root:
            libraries = os.path.join(self._root, _LIBRARIES)
            script = ''.join(
                f"{os.path.basename(path)}() {{ {libraries}/"
                f'ld-linux-x86-64.so.2 --library-path {libraries} {path}'
                ' "$@"; }\n' for path in sorted(
                    glob.glob(f'{self._root}/usr/*bin/mk*fs*'))) + script
        done = subprocess.run(
            ['bash', '-e', '-c', script], env=process.environment(),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=_TIMEOUT_S, check=False)
        if done.returncode not in expected:
            raise AssertionError(f'{script}: {done.stdout}')
        return done.stdout

    @functools.cached_property
    def mkfs_version(self):
        """The version of its mkfs.erofs, for example 1.8.6."""
        # 1.5 knows no -V, but closes its usage with it
        said = self.shell('mkfs.erofs -V', expected=(0, 1))
        return re.search(r'mkfs\.erofs .*?(\d[\d.]+)$', said, re.M)[1]


@functools.cache
def guest_kernel(suite):
    """Return the newest kernel.Kernel of a suite.

    :param suite: as Release
    :raises: Unreachable
    """
    root = '' if suite == HERE else kernel_root(suite)
    return kernel.find(foldertree.FolderTree(root or '/'), suite)


def kernel_root(suite):
    """Return a folder with the kernel's package of a suite, unpacked.

    :raises: Unreachable
    """
    return _unpacked(f'kernel-{suite}', suite, [_KERNEL])


def _unpacked(name, suite, packages):
    """Return the folder in which packages of a suite lie unpacked.

    Of a program what it needs comes along, of a kernel nothing.
    """
    root = os.path.join(harness.CACHE, 'releases', name)
    with lockutils.lock(name, external=True,
                        lock_path=os.path.join(harness.CACHE, 'locks')):
        if not os.path.exists(root):
            scratch = f'{root}.partial'
            process.run('rm', '-rf', scratch, timeout_s=60)
            os.makedirs(scratch)
            try:
                _Apt(scratch, suite).unpack(packages, f'{scratch}/root')
            except exception.FlexMemException as e:
                raise Unreachable(f'no packages of {suite}: {e}')
            os.rename(f'{scratch}/root', root)
            process.run('rm', '-rf', scratch, timeout_s=60)
    return root


class _Apt:
    """An apt with one suite, which knows nothing of what the host has."""

    def __init__(self, folder, suite):
        self._folder = folder
        for name in 'lists/partial', 'cache/archives/partial', 'etc':
            os.makedirs(os.path.join(folder, name))
        with open(f'{folder}/etc/sources.list', 'w') as f:
            f.write(f'{sources.for_suite(suite)[0]}\n')
        open(f'{folder}/status', 'w').close()

    def unpack(self, packages, root):
        self._run('apt-get', 'update')
        if packages == [_KERNEL]:
            needed = self._run('apt-cache', 'depends', _KERNEL)
            image = re.search(r'Depends: (linux-image-\S+)', needed)[1]
            self._run('apt-get', 'download', image)
        else:
            self._run('apt-get', '-y', '--download-only', 'install', *packages)
        os.makedirs(root)
        # where the folders of / lead to in a merged system
        for name in 'bin', 'sbin', 'lib', 'lib64':
            os.makedirs(f'{root}/usr/{name}')
            os.symlink(f'usr/{name}', f'{root}/{name}')
        for path in (glob.glob(f'{self._folder}/*.deb')
                     + glob.glob(f'{self._folder}/cache/archives/*.deb')):
            # tar, as dpkg-deb would put folders in the place of links
            process.run('sh', '-c', 'dpkg-deb --fsys-tarfile "$1" |'
                        ' tar -x --keep-directory-symlink -C "$2"', 'sh',
                        path, root, timeout_s=_TIMEOUT_S)
        for release in glob.glob(f'{root}/lib/modules/*'):
            process.run('depmod', '-b', root, os.path.basename(release),
                        timeout_s=_TIMEOUT_S)

    def _run(self, program, *arguments):
        folder = self._folder
        options = {
            'Dir::Etc::sourcelist': f'{folder}/etc/sources.list',
            'Dir::Etc::sourceparts': '-', 'Dir::State': folder,
            'Dir::State::lists': f'{folder}/lists',
            'Dir::State::status': f'{folder}/status',
            'Dir::Cache': f'{folder}/cache', 'Debug::NoLocking': '1',
            'APT::Install-Recommends': 'no', 'APT::Sandbox::User': 'root'}
        return process.run(
            # apt-get download writes to the current folder
            'env', '-C', folder, program,
            *(f'-o{name}={value}' for name, value in options.items()),
            *arguments, timeout_s=_TIMEOUT_S)
