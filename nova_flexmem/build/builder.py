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

"""Turns an image into a base.

The image is copied first, so that what is checked is what is built, then read
inside an appliance: the root filesystem is made there as well, and the host
sees of it only its bytes, the kernel, the modules and a few small files.
"""

import dataclasses
import datetime
import os
import typing

from oslo_concurrency import lockutils
from oslo_utils import units
from pbr import version

from nova_flexmem.build import bootfiles
from nova_flexmem.build import handover
from nova_flexmem.build import initramfs
from nova_flexmem.build import rootpmem
from nova_flexmem.build import roottree
from nova_flexmem import exception
from nova_flexmem.image import appliance as appliance_module
from nova_flexmem.image import bootloader
from nova_flexmem.image import imagebytes
from nova_flexmem.image import kernel as kernel_module
from nova_flexmem.image import operating_system
from nova_flexmem.image import source as source_module
from nova_flexmem.image import sparse
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore
from nova_flexmem.store import diskerrors
from nova_flexmem.store import locks
from nova_flexmem.store import room


@dataclasses.dataclass(frozen=True)
class Options:
    """How a base is built; see the options of the same names in conf.

    :ivar max_store_size_bytes: 0: no limit
    :ivar scope: who shares the base, any text; empty: everybody
    :ivar minimum_format: a base of an older format, if there is one, does not
        do
    :ivar take_over: whether the build may use up an image that is in the
        store's folder of downloads; its file is gone then
    """

    rootfs: str = 'auto'
    max_virtual_size_bytes: int = 128 * units.Gi
    max_base_size_bytes: int = 32 * units.Gi
    max_store_size_bytes: int = 0
    timeout_s: int = 1800
    scope: str = ''
    allow_backing_chain: bool = False
    minimum_format: int = 1
    take_over: bool = False

    @classmethod
    def from_conf(cls, conf, **changes):
        """Return the Options that a ConfigOpts asks for."""
        group = conf.flexmem
        sizes = {f'{name}_bytes': getattr(group, f'{name}_gib') * units.Gi
                 for name in ('max_virtual_size', 'max_base_size',
                              'max_store_size')}
        return cls(**{'rootfs': group.rootfs,
                      'timeout_s': group.build_timeout_s} | sizes | changes)


def build(store, image, options=Options(), progress=lambda *_: None):
    """Build the base of an image, unless the store has it.

    Of several builds of one image at once, one builds and the others wait.

    :param store: a Store
    :param image: path of the image
    :param progress: called with a stage's name and the fraction of it that
        is done, None where that is not known
    :returns: (the Base, whether it was built just now)
    :raises: ImageRefused, BuildFailed, StoreUnusable
    """
    source = source_module.inspect(
        image, max_virtual_size_bytes=options.max_virtual_size_bytes,
        allow_backing_chain=options.allow_backing_chain)
    sha256 = imagebytes.digest(
        source, lambda part: progress('reading the image', part))
    image_key = basestore.image_key(sha256, options.rootfs, options.scope)
    with _locked(store, image_key, progress):
        published = store.built_from(sha256, options.rootfs, options.scope,
                                     options.minimum_format)
        if published is not None:
            return published, False
        with store.build_folder(image_key) as folder:
            try:
                with store.reporting():
                    key = _run(_Build(store, source, sha256, folder, options,
                                      progress))
            except exception.ProgramFailed as e:
                with store.reporting():  # was it this, or the disk?
                    diskerrors.try_out(
                        os.path.join(folder, 'trial'),
                        appliance_module.room_bytes(
                            store.folder('appliance')))
                raise exception.BuildFailed(image=image, reason=str(e))
    return store.require(key), True


def clean(store):
    """Remove what killed builds left behind in a store, unless one runs.

    :raises: StoreUnusable
    """
    with store.reporting():
        appliance_module.clean(store.folder('appliance'))
    store.clean()


def _locked(store, key, progress):
    """Return the key's lock as a context manager; says if it has to wait."""
    try:
        with store.lock(locks.BUILD, key, blocking=False):
            pass
    except lockutils.AcquireLockFailedException:
        progress('waiting for another build of this image', None)
    return store.lock(locks.BUILD, key)


@dataclasses.dataclass(frozen=True)
class _Build:
    """One build: what all of its steps need.

    :ivar source: the image, a source.Source
    :ivar sha256: what imagebytes.digest returned of it
    :ivar folder: the folder to build in
    """

    store: basestore.Store
    source: source_module.Source
    sha256: str
    folder: str
    options: Options
    progress: typing.Callable

    def base_path(self, name=''):
        """Return the path of a file of the base."""
        return os.path.join(self.folder, 'base', name)


@dataclasses.dataclass(frozen=True)
class _Image:
    """What the appliance reads of an image.

    :ivar system: an operating_system.OperatingSystem
    :ivar kernel: a kernel.Kernel
    :ivar kernel_args: as bootloader.kernel_args returns them
    """

    system: operating_system.OperatingSystem
    kernel: kernel_module.Kernel
    kernel_args: str


def _run(build):
    """Build and publish a base; returns its key."""
    os.mkdir(build.base_path())
    copy = _take_copy(build)
    image, driver = _read_and_make_root(build, copy)
    os.unlink(copy)
    build.progress('writing the initramfs', None)
    handover.write(build.base_path(), image.kernel.image,
                   initramfs.pack(image.kernel.modules))
    root_pmem = rootpmem.finish(
        build.base_path(basefiles.ROOT_PMEM), driver,
        lambda part: build.progress('reading root.pmem', part))
    return _publish(build, image, driver, root_pmem)


def _take_copy(build):
    """Return the path of a private copy of the image."""
    # what the copy takes; the base is about as large as a rule
    _make_room(build, sum(sparse.written_bytes(path)
                          for path in build.source.chain))
    downloads = build.store.folder('downloads')
    copy = imagebytes.take(
        build.source, build.sha256, build.folder,
        timeout_s=build.options.timeout_s,
        take_over=(build.options.take_over and
                   os.path.dirname(build.source.path) == downloads),
        progress=lambda part: build.progress('copying the image', part))
    # what was inspected may have been another file of the same name
    source_module.inspect(copy, max_virtual_size_bytes=build.options
                          .max_virtual_size_bytes)
    return copy


def _read_and_make_root(build, copy):
    """Do all that is done in the appliance.

    :param copy: path of the image's copy
    :returns: (the _Image, the RootFilesystem that was made)
    """
    max_bytes = build.options.max_base_size_bytes
    path = build.base_path(basefiles.ROOT_PMEM)
    rootpmem.create(path, max_bytes)
    drives = [appliance_module.Drive(copy, build.source.format, True, 'image'),
              appliance_module.Drive(path, 'raw', False, 'target')]
    build.progress('starting the appliance', None)
    with appliance_module.Appliance(
            build.store.folder('appliance'), drives,
            timeout_s=build.options.timeout_s,
            file_size_bytes=os.path.getsize(path)) as a:
        build.progress('inspecting the image', None)
        system = operating_system.find(a, build.source.path)
        tree = operating_system.Tree(a, system, build.folder)
        build.progress('reading its kernel', None)
        kernel = kernel_module.find(tree, build.source.path)
        args = bootloader.kernel_args(tree, kernel.release)
        roottree.replace_fstab(a, tree.reduced_fstab)
        build.progress('measuring the files', None)
        content = roottree.measure(a)
        driver = roottree.choose_rootfs(build.options.rootfs, kernel, content,
                                        build.source.path)
        _allocate(build, driver.room_bytes(content))
        stage = f'making the {driver.name} root filesystem'
        with sparse.Watch(path, content.blocks * 4096,
                          lambda part: build.progress(stage, part)):
            driver.make(a, rootpmem.add_partition(a, drives[1]), content)
    return _Image(system, kernel, args), driver


def _allocate(build, filesystem_bytes):
    """Take the disk space of root.pmem, if it is not too much."""
    limit_bytes = build.options.max_base_size_bytes
    if filesystem_bytes > limit_bytes:
        raise exception.ImageRefused(
            image=build.source.path, reason='its base would need'
            f' {filesystem_bytes / units.Gi:.1f} GiB, the'
            f' limit is {limit_bytes / units.Gi:.1f} GiB; raise [flexmem]'
            ' max_base_size_gib to build it')
    _make_room(build, filesystem_bytes)
    rootpmem.allocate(build.base_path(basefiles.ROOT_PMEM), filesystem_bytes)


def _publish(build, image, driver, root_pmem):
    """Write the manifest and publish the base; returns its key."""
    key = basestore.key_of(root_pmem.file.sha256, build.sha256,
                           build.options.scope)
    system, kernel = image.system, image.kernel
    basefiles.Manifest(
        format=basefiles.FORMAT, key=key, uuid=root_pmem.uuid,
        image_sha256=build.sha256, image_format=build.source.format,
        image_virtual_size_bytes=build.source.virtual_size_bytes,
        distro=f'{system.distro} {system.version}', product=system.product,
        rootfs=driver.name, rootfs_size_bytes=root_pmem.filesystem_bytes,
        kernel_release=kernel.release, kernel_others=list(kernel.others),
        kernel_args=image.kernel_args, devices=list(kernel.devices),
        files={basefiles.ROOT_PMEM: root_pmem.file} | {
            name: basefiles.File.of(build.base_path(name))
            for name in (basefiles.KERNEL, basefiles.INITRAMFS)},
        built_at=datetime.datetime.now(datetime.UTC).isoformat(
            timespec='seconds'),
        built_by=version.VersionInfo('nova-flexmem').release_string(),
        scope=build.options.scope, rootfs_asked=build.options.rootfs,
        boot_id=bootfiles.boot_id(),
    ).write(build.base_path(basefiles.MANIFEST))
    build.progress('publishing the base', None)
    _make_room(build, room.allocated_bytes(build.base_path()))
    build.store.publish(build.base_path(), key)
    return key


def _make_room(build, size_bytes):
    """Keep the store to its limit with a base of a size in it."""
    # what the build takes meanwhile goes at its end, and what Nova
    # downloaded for it does then
    downloads = build.store.folder('downloads')
    downloaded_bytes = sum(
        os.stat(path).st_blocks * 512 for path in build.source.chain
        # not if the build has taken it over
        if os.path.dirname(path) == downloads and os.path.exists(path))
    going_bytes = room.allocated_bytes(build.folder) + downloaded_bytes
    room.make_room(build.store, size_bytes - going_bytes,
                   build.options.max_store_size_bytes)
