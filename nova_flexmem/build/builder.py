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

from oslo_concurrency import lockutils
from oslo_log import log
from oslo_utils import units
from pbr import version

from nova_flexmem.build import bootfiles
from nova_flexmem.build import handover
from nova_flexmem.build import initramfs
from nova_flexmem.build import job as job_module
from nova_flexmem.build import rootpmem
from nova_flexmem.build import roottree
from nova_flexmem import exception
from nova_flexmem.image import appliance as appliance_module
from nova_flexmem.image import imagebytes
from nova_flexmem.image import kernel as kernel_module
from nova_flexmem.image import operating_system
from nova_flexmem.image import source as source_module
from nova_flexmem.image import sparse
from nova_flexmem.image import supermin
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore
from nova_flexmem.store import diskerrors
from nova_flexmem.store import locks
from nova_flexmem.store import room

LOG = log.getLogger(__name__)


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
                    key = _run(job_module.Job(store, source, sha256, folder,
                                              options, progress))
            except exception.ProgramFailed as e:
                with store.reporting():  # was it this, or the disk?
                    diskerrors.try_out(
                        os.path.join(folder, 'trial'),
                        supermin.room_bytes(store.folder('appliance')))
                raise exception.BuildFailed(image=image, reason=str(e))
    return store.require(key), True


def clean(store):
    """Remove what killed builds left behind in a store, unless one runs.

    :raises: StoreUnusable
    """
    with store.reporting():
        supermin.clean(store.folder('appliance'))
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
class _Image:
    """What the appliance reads of an image.

    :ivar system: an operating_system.OperatingSystem
    :ivar kernel: a kernel.Kernel
    """

    system: operating_system.OperatingSystem
    kernel: kernel_module.Kernel


def _run(job):
    """Build and publish a base; returns its key."""
    os.mkdir(job.base_path())
    copy = job_module.take_copy(job)
    image, driver = _read_and_make_root(job, copy)
    os.unlink(copy)
    job.progress('writing the initramfs', None)
    handover.write(job.base_path(), image.kernel.image,
                   initramfs.pack(image.kernel.modules))
    root_pmem = rootpmem.finish(
        job.base_path(basefiles.ROOT_PMEM), driver,
        lambda part: job.progress('reading root.pmem', part))
    return _publish(job, image, driver, root_pmem)


def _read_and_make_root(job, copy):
    """Do all that is done in the appliance.

    :param copy: path of the image's copy
    :returns: (the _Image, the RootFilesystem that was made)
    """
    max_bytes = job.options.max_base_size_bytes
    path = job.base_path(basefiles.ROOT_PMEM)
    rootpmem.create(path, max_bytes)
    drives = [appliance_module.Drive(copy, job.source.format, True, 'image'),
              appliance_module.Drive(path, 'raw', False, 'target')]
    job.progress('starting the appliance', None)
    with appliance_module.Appliance(
            job.store.folder('appliance'), drives,
            timeout_s=job.options.timeout_s,
            file_size_bytes=os.path.getsize(path)) as a:
        job.progress('inspecting the image', None)
        system = operating_system.find(a, job.source.path)
        tree = operating_system.mount(a, system, job.folder)
        job.progress('reading its kernel', None)
        kernel = kernel_module.find(tree, job.source.path,
                                    job.store.driver_packs)
        _say_what_is_passed_over(job, kernel)
        roottree.replace(a, tree.reduced)
        job.progress('measuring the files', None)
        content = roottree.measure(a)
        driver = roottree.choose_rootfs(job.options.rootfs, kernel, content,
                                        job.source.path)
        job_module.allocate(job, driver.room_bytes(content))
        stage = f'making the {driver.name} root filesystem'
        with sparse.Watch(path, content.blocks * 4096,
                          lambda part: job.progress(stage, part)):
            driver.make(a, rootpmem.add_partition(a, drives[1]), content)
    return _Image(system, kernel), driver


def _say_what_is_passed_over(job, kernel):
    for release, reason in kernel.passed_over:
        LOG.warning('%s: its default kernel is not taken, but %s: %s',
                    job.source.path, kernel.release, reason)


def _publish(job, image, driver, root_pmem):
    """Write the manifest and publish the base; returns its key."""
    key = basestore.key_of(root_pmem.file.sha256, job.sha256,
                           job.options.scope)
    system, kernel = image.system, image.kernel
    basefiles.Manifest(
        format=basefiles.FORMAT, key=key, uuid=root_pmem.uuid,
        image_sha256=job.sha256, image_format=job.source.format,
        image_virtual_size_bytes=job.source.virtual_size_bytes,
        distro=f'{system.distro} {system.version}', product=system.product,
        rootfs=driver.name, rootfs_size_bytes=root_pmem.filesystem_bytes,
        kernel_release=kernel.release, kernel_others=list(kernel.others),
        kernel_args=kernel.args, devices=list(kernel.devices),
        files={basefiles.ROOT_PMEM: root_pmem.file} | {
            name: basefiles.File.of(job.base_path(name))
            for name in (basefiles.KERNEL, basefiles.INITRAMFS)},
        built_at=datetime.datetime.now(datetime.UTC).isoformat(
            timespec='seconds'),
        built_by=version.VersionInfo('nova-flexmem').release_string(),
        scope=job.options.scope, rootfs_asked=job.options.rootfs,
        boot_id=bootfiles.boot_id(),
        kernels_passed_over=dict(kernel.passed_over),
        driver_pack=(dataclasses.asdict(kernel.driver_pack)
                     if kernel.driver_pack else {}),
    ).write(job.base_path(basefiles.MANIFEST))
    job.progress('publishing the base', None)
    job_module.make_room(job, room.allocated_bytes(job.base_path()))
    job.store.publish(job.base_path(), key)
    return key
