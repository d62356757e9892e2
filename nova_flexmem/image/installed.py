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

"""The kernels that are installed in an image: their releases and files.

A kernel belongs to the modules in /lib/modules/RELEASE. Its file has the
release in its name or path as a rule; else the kernel itself tells.
"""

import re

from nova_flexmem.image import bzimage
from nova_flexmem.image import releases

MAX_KERNEL_BYTES = 64 << 20

#: Names of kernels in /boot, such as vmlinuz-linux and vmlinuz-virt.
_NAME = re.compile(r'(?:vmlinuz|bzImage|kernel|linux)[\w.+~-]{0,100}',
                   re.ASCII)
_PATH = re.compile(r'(?:/[\w.@+~-]+)+', re.ASCII)

#: How many kernels are read to see their release.
_MAX_READ = 8

#: Where what a boot loader calls / may be.
_FOLDERS = ('/boot', '', '/boot/efi', '/efi')

#: Where unified kernel images are, NAME.efi.
_UNIFIED = ('/boot/EFI/Linux', '/efi/EFI/Linux', '/boot/efi/EFI/Linux')


class Kernels:
    """The kernels of an image, each release with its file.

    :param tree: the image's operating_system.Tree
    :param paths: {release: path of the kernel}
    :param read: {path: release} of those that were read
    """

    def __init__(self, tree, paths, read):
        self._tree = tree
        self._read = read
        #: {release: path}, the newest first
        self.paths = paths

    def release_of(self, path):
        """Return the release of the kernel at a boot loader's path.

        :returns: None if no kernel with modules is there
        """
        path = re.sub(r'^\([^()]*\)', '', path)
        if not path.startswith('/'):
            path = f'/{path}'
        *folders, name = path.split('/')
        named = re.sub(r'^(?:vmlinuz|kernel|bzImage)-', '', name)
        for part in (named, *reversed(folders)):
            if part in self.paths:
                return part
        # a kernel in a subvolume has that in front of its path
        for found in [f'{folder}{path}' for folder in _FOLDERS] + [
                f'/boot/{name}']:
            release = _release(self._tree, found, self._read)
            if release:
                return release if release in self.paths else None
        return None


def find(tree):
    """Return the Kernels of an image.

    :param tree: the image's operating_system.Tree
    """
    names = releases.newest_first(tree.names('/lib/modules'),
                                  releases.order_of(tree))
    found = {}
    machines = [name for name in tree.names('/boot')
                if re.fullmatch('[0-9a-f]{32}', name)][:1]
    for release in names:
        for path in (f'/boot/vmlinuz-{release}',
                     f'/lib/modules/{release}/vmlinuz',
                     f'/boot/kernel-{release}',
                     *(f'/boot/{machine}/{release}/linux'
                       for machine in machines)):
            if tree.is_file(path):
                found[release] = path
                break
    read: dict[str, str] = {}
    if len(found) < len(names):
        for name in sorted(filter(_NAME.fullmatch, tree.names('/boot'))):
            path = f'/boot/{name}'
            if path not in found.values():
                release = _release(tree, path, read)
                if release in names:
                    found.setdefault(release, path)
    return Kernels(tree, {release: found[release] for release in names
                          if release in found}, read)


def why_none(tree):
    """Return a sentence that says why an image has no kernel of use."""
    folders = [*_UNIFIED, *(f'/lib/modules/{name}' for name in
                            releases.newest_first(tree.names('/lib/modules'),
                                                  releases.RPM)[:_MAX_READ])]
    for folder in folders:
        for name in tree.names(folder):
            if name.endswith('.efi') and not name.startswith('.'):
                return ('its kernel is part of a unified kernel image,'
                        f' {folder}/{name}; install an ordinary kernel in the'
                        ' image, a vmlinuz-RELEASE in /boot')
    return ('no kernel in it: no /boot/vmlinuz-RELEASE with a'
            ' /lib/modules/RELEASE folder; install a kernel in the image')


def _release(tree, path, read):
    """Return the release that a kernel says it has, '' if there is none.

    :param read: {path: release}, kept from call to call
    """
    if path not in read:
        if (len(read) >= _MAX_READ or not _PATH.fullmatch(path)
                or '..' in path or not tree.is_file(path)):
            return ''
        read[path] = bzimage.release(tree.read(path, MAX_KERNEL_BYTES))
    return read[path]
