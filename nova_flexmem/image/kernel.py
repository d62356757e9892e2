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

"""The kernel of an image: which one a guest boots, and what it can do."""

import dataclasses

from nova_flexmem import exception
from nova_flexmem.image import bootloader
from nova_flexmem.image import bzimage
from nova_flexmem.image import drivers
from nova_flexmem.image import installed
from nova_flexmem.image import modules as modules_module
from nova_flexmem.image import releases
from nova_flexmem.store import driverpacks

#: The root filesystems' modules; ext4 is the delta's as well.
EROFS, EXT4 = 'erofs', 'ext4'

#: FlexMem device driver: modules that make it /dev/pmem0.
DEVICES = {'nvdimm': ('libnvdimm', 'nfit', 'nd_pmem'),
           'virtio-pmem': ('virtio_pci', 'virtio_pmem', 'nd_pmem')}

#: What every guest needs.
NEEDED = ('overlay', EXT4, 'virtio_pci', 'virtio_blk')

#: For a delta on virtio-scsi; for a config drive on a CD, as cloud-init
#: decides at the very start of the image's own init whether there is one; and
#: for the balloon, by which free pages are handed back.
WELCOME = ('virtio_scsi', 'sd_mod', 'ata_piix', 'ahci', 'sr_mod',
           'virtio_balloon')

#: All modules that a guest may need, besides what these need.
WANTED = (*NEEDED, EROFS, *WELCOME, *DEVICES['nvdimm'],
          *DEVICES['virtio-pmem'])

#: overlayfs has metacopy= since then (RHEL's kernel of that number, too).
_OLDEST = (4, 18)

#: Without a configuration or a module to look into: Linux 5.15 is the first
#: whose EROFS has DAX.
_EROFS_DAX_SINCE = (5, 15)
_EROFS_DAX_SYMBOLS = (b'\0fs_dax_get_by_bdev\0', b'\0dax_iomap_fault\0')
_EROFS_OPTIONS = ('CONFIG_EROFS_FS_XATTR', 'CONFIG_EROFS_FS_POSIX_ACL',
                  'CONFIG_EROFS_FS_SECURITY')
#: For DAX on a device that has a pfn superblock.
_DAX_OPTIONS = ('CONFIG_FS_DAX', 'CONFIG_NVDIMM_PFN')

#: How many of an image's kernels are looked into.
_MAX_EXAMINED = 10


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel that can run a FlexMem guest.

    :ivar release: as uname -r says
    :ivar image: its bzImage
    :ivar rootfs: the root filesystems it can mount with DAX
    :ivar devices: the FlexMem devices it has drivers for
    :ivar modules: (name, content of the .ko) in the order of loading
    :ivar others: releases of the image's other kernels, the newest first
    :ivar args: the image's own kernel command line, less what a FlexMem guest
        gets in another way
    :ivar passed_over: (release, reason) of each kernel that the image would
        rather boot, but that cannot run a FlexMem guest
    :ivar driver_pack: the driver pack that some of the modules are from
    """

    release: str
    image: bytes
    rootfs: tuple[str, ...]
    devices: tuple[str, ...]
    modules: tuple[tuple[str, bytes], ...]
    others: tuple[str, ...]
    args: str = ''
    passed_over: tuple[tuple[str, str], ...] = ()
    driver_pack: driverpacks.Pack | None = None


def find(tree, image, packs=None):
    """Take the kernel that an image boots by itself.

    If that one cannot run a FlexMem guest, the newest one that can is taken.

    :param tree: the image's operating_system.Tree
    :param image: the image's path, for messages
    :param packs: the store's DriverPacks, for what the image lacks
    :raises: ImageRefused if there is none, or it lacks something
    """
    kernels = installed.find(tree)
    if not kernels.paths:
        raise exception.ImageRefused(image=image,
                                     reason=installed.why_none(tree))
    loader = bootloader.read(tree, kernels)
    refused: list[tuple[str, exception.ImageRefused]] = []
    for release in _in_order(kernels, loader.default)[:_MAX_EXAMINED]:
        try:
            return _examine(tree, image, kernels, loader, release, refused,
                            packs)
        except exception.ImageRefused as e:
            refused.append((release, e))
    raise refused[0][1]


def _in_order(kernels, default):
    rest = [release for release in kernels.paths if release != default]
    return rest if default is None else [default, *rest]


def _examine(tree, image, kernels, loader, release, refused, packs):
    """Return a Kernel.

    :param refused: (release, ImageRefused) of those that are passed over
    :param packs: as find()
    :raises: ImageRefused if it cannot run a FlexMem guest
    """
    path = kernels.paths[release]
    content = tree.read(path, installed.MAX_KERNEL_BYTES)
    if not bzimage.is_bzimage(content):
        raise exception.ImageRefused(
            image=image, reason=f'{path} in it is not a 64-bit x86 kernel'
            ' (bzImage)')
    folder = f'/lib/modules/{release}'
    available = modules_module.read(tree, folder)
    config = _Config(tree.read_text(f'/boot/config-{release}')
                     or tree.read_text(f'{folder}/config'))
    pack = None
    if not (_devices(available) or _lacks_for_good(config)
            or _missing(available)):
        pack = drivers.choose(tree, image, folder, release, available, packs,
                              DEVICES['nvdimm'])
        available.add_pack(pack)
    devices = _devices(available)
    _check(image, release, available, devices, config)
    rootfs = tuple(name for name in (EROFS, EXT4) if name in available)
    if EROFS in rootfs and not _erofs_has_dax(tree, folder, available, release,
                                              config, image):
        rootfs = (EXT4,)
    wanted = [*NEEDED, *rootfs, *WELCOME,
              *(name for device in devices for name in DEVICES[device])]
    try:
        paths_to_load = available.closure(wanted)
    except ValueError as e:
        raise exception.ImageRefused(
            image=image, reason=f'{folder}/modules.dep in it {e}')
    return Kernel(
        release, content, rootfs, devices,
        modules_module.load(
            tree, folder, paths_to_load, image,
            lambda name: packs.content(pack, name)),
        tuple(other for other in kernels.paths if other != release),
        loader.args(release),
        tuple((other, e.kwargs['reason']) for other, e in refused), pack)


def _devices(available):
    return tuple(device for device, names in DEVICES.items()
                 if all(name in available for name in names))


def _missing(available):
    return [name for name in NEEDED if name not in available]


def _lacks_for_good(config):
    """Return whether no module could add a FlexMem device."""
    return not (all(map(config.allows, _DAX_OPTIONS))
                and config.has('CONFIG_BLK_DEV_PMEM')
                and (config.has('CONFIG_ACPI_NFIT')
                     or config.has('CONFIG_VIRTIO_PMEM')))


def _check(image, release, available, devices, config):
    """Raise ImageRefused for a kernel that cannot run a FlexMem guest."""
    if releases.version(release) < _OLDEST:
        raise exception.ImageRefused(
            image=image, reason=f'its kernel {release} is too old; FlexMem'
            ' supports Linux 4.18 and later. Use a newer release of the'
            ' image')
    missing = _missing(available)
    if not devices:
        missing += ['nvdimm or virtio-pmem']
    missing += [f'DAX ({option})' for option in _DAX_OPTIONS
                if not config.allows(option)]
    if missing:
        raise exception.ImageRefused(
            image=image, reason=f'its kernel {release} has no support for'
            f' {", ".join(missing)}; install a kernel with it in the image')


def _erofs_has_dax(tree, folder, available, release, config, image):
    """Return whether a kernel's EROFS has DAX and all that files can have."""
    if not all(map(config.allows, _EROFS_OPTIONS)):
        return False
    path = available.path(EROFS)
    if path is None:  # it is built in
        return releases.version(release) >= _EROFS_DAX_SINCE
    # vendors have DAX in kernels with smaller numbers than that
    (_name, content), = modules_module.load(tree, folder, [path], image)
    return any(symbol in content for symbol in _EROFS_DAX_SYMBOLS)


class _Config:
    """A kernel's configuration.

    :param text: '' if it is not known
    """

    def __init__(self, text):
        lines = text.splitlines()
        self._set = {line.removesuffix('=y') for line in lines
                     if line.endswith('=y')}
        self._modules = {line.removesuffix('=m') for line in lines
                         if line.endswith('=m')}
        self._unset = {line for line in lines if line.startswith('# CONFIG_')}

    def has(self, option):
        """Return whether an option is on or a module, or may be."""
        return option in self._modules or self.allows(option)

    def allows(self, option):
        """Return whether an option is on, or may be."""
        return (option in self._set if self._set
                else f'# {option} is not set' not in self._unset)
