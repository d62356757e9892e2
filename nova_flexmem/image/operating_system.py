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

"""The operating system in an image, as libguestfs finds it."""

import dataclasses
import os
import shlex

from nova_flexmem import exception
from nova_flexmem.image import crypttab
from nova_flexmem.image import decompression
from nova_flexmem.image import fstab
from nova_flexmem.image import identifiers
from nova_flexmem.image import roots

FSTAB = '/etc/fstab'
CRYPTTAB = '/etc/crypttab'
_MAX_TABLE_BYTES = 1 << 16

#: Where the appliance has the tree.
_SYSROOT = '/sysroot'

#: Counts the places below a folder that have the subvolume of the root
#: filesystem. The topmost folder of a subvolume of btrfs is number 256, and
#: each subvolume has a device number of its own, wherever it is mounted.
#: snapper has it two folders deep.
_COUNT_ROOTS = f"""
[ "$(stat -f -c %T {{folder}})" = btrfs ] || {{{{ echo 0; exit; }}}}
find {{folder}} -maxdepth 3 -type d -inum 256 -printf '%D\\n' |
    grep -cx "$(stat -c %d {_SYSROOT})" || true
"""


@dataclasses.dataclass(frozen=True)
class OperatingSystem:
    """What libguestfs says of an image (see guestfs(3), INSPECTION).

    :ivar mountpoints: {mount point: libguestfs mountable}, all of which
        make up the root tree
    :ivar image: the image's path, for messages
    """

    distro: str
    version: str
    product: str
    mountpoints: dict[str, str]
    image: str = dataclasses.field(default='the image', compare=False)


def find(appliance, image):
    """Find the one Linux in an image.

    :param image: the image's path, for messages
    :raises: ImageRefused if there is none, or one that can't run here
    """
    root = roots.find(appliance, image)

    def get(what):
        return exception.one_line(' '.join(
            appliance.command(f'inspect-get-{what}', root)))

    if get('type') != 'linux':
        raise exception.ImageRefused(
            image=image, reason=f'its operating system is {get("type")}'
            f' ({get("product-name")}); only Linux can mount a base')
    if get('arch') != 'x86_64':
        raise exception.ImageRefused(
            image=image, reason=f'made for {get("arch")}; only x86_64 images'
            ' can become a base')
    # libguestfs's reading of fstab, in which names can have line feeds
    mountpoints = dict(line.split(': ', 1) for line in appliance.command(
        'inspect-get-mountpoints', root) if ': ' in line)
    mountpoints['/'] = root
    return OperatingSystem(
        get('distro'), f'{get("major-version")}.{get("minor-version")}',
        get('product-name'), mountpoints, image)


def mount(appliance, operating_system, folder):
    """Mount the root tree of an image read-only, at / of the appliance.

    :param operating_system: the image's OperatingSystem
    :param folder: where files pass through on the host
    :returns: the Tree
    :raises: ImageRefused if what its fstab mounts would not be in the tree
    """
    root = operating_system.mountpoints['/']
    appliance.command('mount-ro', root, '/')
    known, others = identifiers.find(appliance)
    tree = Tree(appliance, folder)
    text = tree.read_text(FSTAB, _MAX_TABLE_BYTES)
    devices = tree.read_text(CRYPTTAB, _MAX_TABLE_BYTES)
    encrypted = known | others
    mountpoints = {point: mountable for point, mountable in
                   operating_system.mountpoints.items()
                   if fstab.is_known(mountable, known)}
    mountpoints |= fstab.mountables(text, known) | {'/': root}
    mounted = ['/']
    # a mount point comes after those above it
    for point in sorted(mountpoints):
        if point != '/' and tree.is_folder(point):
            _mount_at(appliance, mountpoints[point], point)
            mounted.append(point)
    reason = fstab.why_not(text, known, mounted,
                           crypttab.names(devices, encrypted))
    if reason:
        raise exception.ImageRefused(image=operating_system.image,
                                     reason=reason)
    reduced = {FSTAB: fstab.reduce(text, known, mountpoints)}
    if devices:
        reduced[CRYPTTAB] = crypttab.reduce(devices, encrypted)
    return Tree(appliance, folder, reduced)


def _mount_at(appliance, mountable, point):
    """Mount a filesystem of the image, where the image's links lead to.

    They must not be followed by the appliance itself: it would mount the
    filesystem over its own programs. A folder of snapshots stays empty if one
    is the root filesystem, which would be in the base twice.
    """
    # a line feed in it is refused below
    point = '\n'.join(appliance.command('realpath', point))
    if point == '/':
        return
    appliance.command('mount-ro', mountable, point)
    if appliance.shell(_COUNT_ROOTS.format(
            folder=shlex.quote(_SYSROOT + point))) != ['0']:
        appliance.command('umount', point)


class Tree:
    """The files of an image's root tree; see mount().

    Paths are looked up as the image's own programs would: a symbolic link
    does not lead out of the tree.

    :param folder: where files pass through on the host
    :ivar reduced: {path: what that file is to say in a base}
    """

    def __init__(self, appliance, folder, reduced=None):
        self._appliance = appliance
        self._passing = os.path.join(folder, 'passing')
        self.reduced = reduced or {}

    def is_file(self, path):
        """Return whether path is a regular file, at the end of its links."""
        return self._appliance.command(
            'is-file', path, 'followsymlinks:true') == ['true']

    def names(self, path):
        """Return the names in a folder; none if it is not there."""
        if not self.is_folder(path):
            return []
        return self._appliance.command('ls', path)

    def is_folder(self, path):
        """Return whether path is a folder, at the end of its links."""
        return self._appliance.command(
            'is-dir', path, 'followsymlinks:true') == ['true']

    def read(self, path, max_bytes):
        """Return a file's content, or None if there is no such file.

        :raises: ProgramFailed if it is larger than max_bytes
        """
        if not self.is_file(path):
            return None
        size = ' '.join(self._appliance.command('filesize', path))
        if not size.isdecimal() or len(size) > 19 or int(size) > max_bytes:
            raise exception.ProgramFailed(
                program='guestfish', reason=f'{path} in the image has {size}'
                f' bytes; {max_bytes} at most are read')
        try:
            self._appliance.command('download', path, self._passing)
            with open(self._passing, 'rb') as f:
                return f.read(max_bytes)
        finally:
            if os.path.exists(self._passing):
                os.unlink(self._passing)

    def decompressed(self, paths, max_bytes, max_all_bytes):
        """Return what compressed files hold, by path.

        The parameters and the returned value are those of
        decompression.read().
        """
        present = [path for path in paths if self.is_file(path)]
        # without links, which would lead out of the tree
        files = {path: _SYSROOT + '\n'.join(
            self._appliance.command('realpath', path)) for path in present}
        found = (decompression.read(self._appliance, files, max_bytes,
                                    max_all_bytes) if files else {})
        return found | {path: 'not there' for path in paths
                        if path not in files}

    def read_text(self, path, max_bytes=1 << 20):
        """Return a text file's content, '' if there is no such file."""
        return (self.read(path, max_bytes) or b'').decode(
            errors='surrogateescape')
