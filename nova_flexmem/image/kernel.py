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

"""The kernel in an image: which one, what it can do, which modules it needs.

File formats: modules.dep(5), modules.builtin and modules.softdep as depmod(8)
writes them.
"""

import dataclasses
import lzma
import os
import re
import zlib

import zstandard

from nova_flexmem import exception
from nova_flexmem.image import bzimage

MIB = 1 << 20

_MAX_KERNEL_BYTES = 64 * MIB
_MAX_INDEX_BYTES = 8 * MIB
_MAX_MODULE_BYTES = 32 * MIB
_MAX_MODULES = 200
_MAX_ALL_MODULES_BYTES = 128 * MIB
_MAX_RELEASES = 100
_MAX_PATH_BYTES = 4096
_RELEASE = re.compile(r'\d[\w.+~-]{0,100}', re.ASCII)
_MODULE_PATH = re.compile(r'[\w+,-]+(/[\w+,.-]+)*/[\w+,-]+\.ko'
                          r'(\.(xz|zst|gz))?', re.ASCII)

#: The root filesystems' modules; ext4 is the delta's as well.
EROFS, EXT4 = 'erofs', 'ext4'

#: FlexMem device driver: modules that make it /dev/pmem0.
DEVICES = {'nvdimm': ('libnvdimm', 'nfit', 'nd_pmem'),
           'virtio-pmem': ('virtio_pci', 'virtio_pmem', 'nd_pmem')}
_NEEDED = ('overlay', EXT4, 'virtio_pci', 'virtio_blk')

#: For a delta on virtio-scsi; for a config drive on a CD, as cloud-init
#: decides at the very start of the image's own init whether there is one; and
#: for the balloon, by which free pages are handed back.
_WELCOME = ('virtio_scsi', 'sd_mod', 'ata_piix', 'ahci', 'sr_mod',
            'virtio_balloon')

#: Linux 5.15 is the first whose EROFS has DAX.
_EROFS_DAX_SINCE = (5, 15)
_EROFS_OPTIONS = ('CONFIG_EROFS_FS_XATTR', 'CONFIG_EROFS_FS_POSIX_ACL',
                  'CONFIG_EROFS_FS_SECURITY')


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel that can run a FlexMem guest.

    :ivar release: as uname -r says
    :ivar image: its bzImage
    :ivar rootfs: the root filesystems it can mount with DAX
    :ivar devices: the FlexMem devices it has drivers for
    :ivar modules: (name, content of the .ko) in the order of loading
    :ivar others: releases of the image's older kernels
    """

    release: str
    image: bytes
    rootfs: tuple[str, ...]
    devices: tuple[str, ...]
    modules: tuple[tuple[str, bytes], ...]
    others: tuple[str, ...]


def find(tree, image):
    """Take the newest kernel of an image.

    :param tree: the image's operating_system.Tree
    :param image: the image's path, for messages
    :raises: ImageRefused if there is none, or it lacks something
    """
    paths = _installed(tree)
    if not paths:
        raise exception.ImageRefused(
            image=image, reason='no kernel in it: no /boot/vmlinuz-RELEASE'
            ' with a /lib/modules/RELEASE folder')
    release, *others = sorted(paths, key=_version, reverse=True)
    kernel_image = tree.read(paths[release], _MAX_KERNEL_BYTES)
    if not bzimage.is_bzimage(kernel_image):
        raise exception.ImageRefused(
            image=image, reason=f'{paths[release]} in it is not a 64-bit x86'
            ' kernel (bzImage)')
    folder = f'/lib/modules/{release}'
    available = Modules(*(
        tree.read(f'{folder}/modules.{kind}', _MAX_INDEX_BYTES) or b''
        for kind in ('dep', 'builtin', 'softdep', 'alias')))
    config = (tree.read_text(f'/boot/config-{release}')
              or tree.read_text(f'{folder}/config'))
    rootfs, devices = _abilities(available, release, config)
    missing = [name for name in _NEEDED if name not in available]
    if not devices:
        missing += ['nvdimm or virtio-pmem']
    if missing or 'CONFIG_FS_DAX is not set' in config:
        raise exception.ImageRefused(
            image=image, reason=f'its kernel {release} has no support for'
            f' {", ".join(missing) or "DAX (CONFIG_FS_DAX)"}; install a'
            ' kernel with it in the image')
    wanted = [*_NEEDED, *rootfs, *_WELCOME,
              *(name for device in devices for name in DEVICES[device])]
    try:
        paths_to_load = available.closure(wanted)
    except ValueError as e:
        raise exception.ImageRefused(
            image=image, reason=f'{folder}/modules.dep in it {e}')
    return Kernel(release, kernel_image, rootfs, devices,
                  _read_modules(tree, folder, paths_to_load, image),
                  tuple(others))


def _read_modules(tree, folder, paths, image):
    modules = []
    size_bytes = 0
    for path in paths:
        content = _decompressed(
            path, tree.read(f'{folder}/{path}', _MAX_MODULE_BYTES), image)
        size_bytes += len(content)
        if size_bytes > _MAX_ALL_MODULES_BYTES:
            raise exception.ImageRefused(
                image=image, reason='the modules in it that a guest needs'
                f' take over {_MAX_ALL_MODULES_BYTES // MIB} MiB')
        modules.append((_name(path), content))
    return tuple(modules)


class Modules:
    """The modules of one kernel, and what each needs.

    :param dep: modules.dep
    :param builtin: modules.builtin
    :param softdep: modules.softdep
    :param alias: modules.alias
    """

    def __init__(self, dep, builtin, softdep, alias):
        self._paths = {}  # name: path
        self._needs = {}  # path: paths
        for line in _lines(dep):
            path, colon, needs = line.partition(':')
            if colon and _is_module_path(path):
                self._paths[_name(path)] = path
                self._needs[path] = [need for need in needs.split()
                                     if _is_module_path(need)]
        self._builtin = {_name(path) for path in _lines(builtin)}
        self._aliases: dict[str, list[str]] = {}
        for line in _lines(alias):
            words = line.split()
            if len(words) == 3:
                self._aliases.setdefault(_name(words[1]), []).append(
                    _name(words[2]))
        self._soft = {}  # name: names to load before
        for line in _lines(softdep):
            words = line.split()
            if words[:1] == ['softdep'] and 'pre:' in words:
                before = words[words.index('pre:') + 1:]
                if 'post:' in before:
                    before = before[:before.index('post:')]
                self._soft[_name(words[1])] = [_name(w) for w in before]

    def __contains__(self, name):
        return name in self._builtin or name in self._paths

    def closure(self, names):
        """Return the paths to load, each after all that it needs.

        Built-in modules need no loading; names that this kernel does not
        have are passed over.

        :raises: ValueError if that is more than a sane kernel asks for
        """
        order: list[str] = []
        seen: set[str] = set()

        def add(name):
            if name in seen or name in self._builtin:
                return
            seen.add(name)
            if len(seen) > _MAX_MODULES:
                raise ValueError(f'asks for over {_MAX_MODULES} modules')
            path = self._paths.get(name)
            if path is None:
                for alias in self._aliases.get(name, ()):
                    add(alias)
                return
            for soft in self._soft.get(name, ()):
                add(soft)
            for need in self._needs.get(path, ()):
                add(_name(need))
            order.append(path)

        for name in names:
            add(name)
        return order


def _installed(tree):
    """Return {release: path of the kernel image} of the newest."""
    releases = sorted(filter(_RELEASE.fullmatch, tree.names('/lib/modules')),
                      key=_version, reverse=True)
    found = {}
    for release in releases[:_MAX_RELEASES]:
        for path in (f'/boot/vmlinuz-{release}',
                     f'/lib/modules/{release}/vmlinuz'):
            if tree.is_file(path):
                found[release] = path
                break
    return found


def _abilities(available, release, config):
    """Return the root filesystems and the devices that a kernel supports."""
    rootfs = [name for name in (EROFS, EXT4) if name in available]
    version = tuple(int(part) for part in re.findall(r'\d+', release)[:2])
    if EROFS in rootfs and (version < _EROFS_DAX_SINCE or any(
            f'{option} is not set' in config for option in _EROFS_OPTIONS)):
        rootfs.remove(EROFS)
    devices = [device for device, names in DEVICES.items()
               if all(name in available for name in names)]
    return tuple(rootfs), tuple(devices)


def _version(release):
    """Return a sort key: numbers compare as numbers (as sort -V does)."""
    return [(1, int(part), '') if part.isdigit() else (0, 0, part)
            for part in re.findall(r'\d+|\D+', release)]


def _decompressed(path, content, image):
    """Return a module as the kernel wants it: its ELF file."""
    try:
        if content is None:
            raise ValueError('not there')
        if path.endswith('.xz'):
            content = _all(lzma.LZMADecompressor(memlimit=256 * MIB), content)
        elif path.endswith('.zst'):
            if zstandard.frame_content_size(content) > _MAX_MODULE_BYTES:
                raise ValueError('too large')
            content = zstandard.ZstdDecompressor(
                max_window_size=64 * MIB).decompress(
                    content, max_output_size=_MAX_MODULE_BYTES)
        elif path.endswith('.gz'):
            content = _all(zlib.decompressobj(wbits=31), content)
        if not content.startswith(b'\x7fELF'):
            raise ValueError('not a kernel module')
    except (ValueError, lzma.LZMAError, zstandard.ZstdError,
            zlib.error) as e:
        raise exception.ImageRefused(
            image=image, reason=f'kernel module {path} in it: {e}')
    return content


def _all(decompressor, content):
    content = decompressor.decompress(content, _MAX_MODULE_BYTES)
    if not decompressor.eof:
        raise ValueError('cut short or too large')
    return content


def _lines(content):
    return [line for line in content.decode(errors='replace').splitlines()
            if line and not line.startswith('#')]


def _is_module_path(path):
    return (len(path) < _MAX_PATH_BYTES and '..' not in path
            and bool(_MODULE_PATH.fullmatch(path)))


def _name(path):
    """Return a module's name: without folder and suffix, - as _."""
    return os.path.basename(path).partition('.')[0].replace('-', '_')
