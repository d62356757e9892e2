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

"""Drivers that an image lacks: which driver pack has them, or would."""

import re

from nova_flexmem import exception
from nova_flexmem.image import modulefile
from nova_flexmem.image import modules as modules_module
from nova_flexmem.store import driverpacks

_DPKG_STATUS = '/var/lib/dpkg/status'
_MAX_STATUS_BYTES = 64 << 20

#: Modules of the image whose checksums are compared with the pack's.
_MAX_COMPARED = 8

#: ID of os-release: the package that has the drivers which images lack.
_PACKAGES = {'ubuntu': 'linux-modules-extra-{release}',
             'debian': 'linux-image-{release}',
             'sles': 'kernel-default-{version}',
             'opensuse-leap': 'kernel-default-{version}',
             'opensuse-tumbleweed': 'kernel-default-{version}',
             'fedora': 'kernel-modules-core-{release}',
             'rhel': 'kernel-modules-core-{release}',
             'centos': 'kernel-modules-core-{release}',
             'rocky': 'kernel-modules-core-{release}',
             'almalinux': 'kernel-modules-core-{release}'}


def choose(tree, image, folder, release, available, packs, needed):
    """Return the driver pack of an image's very kernel.

    :param tree: the image's operating_system.Tree
    :param image: the image's path, for messages
    :param folder: the folder of the kernel's modules
    :param release: the kernel's release
    :param available: its Modules
    :param packs: the store's DriverPacks, or None
    :param needed: names of the modules that make a device
    :returns: a driverpacks.Pack
    :raises: ImageRefused if there is none; says which package to import
    """
    missing = [name for name in needed if name not in available]
    version = _dpkg_version(tree, release)
    others = []
    for pack in packs.of_release(release) if packs else ():
        absent = sorted(set(missing) - pack.modules.keys())
        other_version = version and pack.package and (
            pack.build != driverpacks.checked(version))
        try:
            if absent:
                others.append(f'{pack.name} has no {", ".join(absent)}')
            elif other_version or not _fits(tree, image, folder, available,
                                            packs, pack):
                others.append(f'{pack.name} is of another build')
            else:
                return pack
        except (exception.DriversRefused, ValueError) as e:
            others.append(f'{pack.name} is damaged: {e}')
    package = _package(tree, release)
    if version and package:
        package += f' of version {version}'
    reason = (f'its kernel {release} has no {", ".join(missing)}; import'
              f' {package or "the package of that kernel that has it"} with'
              ' "nova-flexmem drivers import"')
    if others:
        reason += f' (imported already: {"; ".join(others)})'
    raise exception.ImageRefused(image=image, reason=reason)


def _fits(tree, image, folder, available, packs, pack):
    """Return whether a pack's modules and the image's are of one kernel.

    Both have checksums of the kernel's symbols that they use.
    """
    own: dict[bytes, int] = {}
    paths = available.closure(['overlay', 'ext4', 'erofs', 'virtio_blk'])
    for _name, content in modules_module.load(
            tree, folder, paths[:_MAX_COMPARED], image):
        try:
            own |= modulefile.read(content).checksums
        except ValueError:
            continue  # the guest's kernel will not load it either
    for name in pack.modules:
        theirs = modulefile.read(packs.content(pack, name)).checksums
        if any(own.get(symbol, checksum) != checksum
               for symbol, checksum in theirs.items()):
            return False
    return True


def _dpkg_version(tree, release):
    """Return the version of the package that has a kernel, '' if unknown."""
    status = (tree.read(_DPKG_STATUS, _MAX_STATUS_BYTES) or b'').decode(
        errors='replace')
    for name in ('modules', 'image', 'image-unsigned'):
        match = re.search(
            rf'^Package: linux-{name}-{re.escape(release)}\n'
            r'(?:[^\n]+\n){0,100}?Version: (\S{1,100})\n', status,
            re.MULTILINE)
        if match:
            try:
                driverpacks.checked(match[1])
            except ValueError:
                return ''
            return match[1]
    return ''


def _package(tree, release):
    """Return the name of the package that has a kernel's other drivers."""
    text = (tree.read_text('/etc/os-release')
            or tree.read_text('/usr/lib/os-release'))
    match = re.search(r'^ID=[\'"]?([a-z.-]{1,40})[\'"]?\s*$', text,
                      re.MULTILINE)
    return _PACKAGES.get(match[1] if match else '', '').format(
        release=release, version=release.removesuffix('-default'))
