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

import base64
import dataclasses
import datetime
import os

from oslo_concurrency import lockutils
from oslo_log import log
from pbr import version

from nova_flexmem.build import bootfiles
from nova_flexmem.build import handover
from nova_flexmem.build import initramfs
from nova_flexmem.build import rootfs as rootfs_module
from nova_flexmem.build import rootpmem
from nova_flexmem import exception
from nova_flexmem.image import appliance as appliance_module
from nova_flexmem.image import bootloader
from nova_flexmem.image import kernel as kernel_module
from nova_flexmem.image import operating_system
from nova_flexmem.image import source
from nova_flexmem.image import sparse
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore
from nova_flexmem.store import diskerrors
from nova_flexmem.store import locks
from nova_flexmem.store import room

LOG = log.getLogger(__name__)

GIB = 1 << 30


@dataclasses.dataclass(frozen=True)
class Options:
    """How a base is built; see the options of the same names in conf.

    :ivar max_store_size_bytes: 0: no limit
    :ivar scope: who shares the base, any text; empty: everybody
    :ivar minimum_format: a base of an older format, if there is one, does not
        do
    """

    rootfs: str = 'auto'
    max_virtual_size_bytes: int = 128 * GIB
    max_base_size_bytes: int = 32 * GIB
    max_store_size_bytes: int = 0
    timeout_s: int = 1800
    scope: str = ''
    allow_backing_chain: bool = False
    minimum_format: int = 1

    @classmethod
    def from_conf(cls, conf, **changes):
        """Return the Options that a ConfigOpts asks for."""
        group = conf.flexmem
        return cls(**{'rootfs': group.rootfs,
                      'max_virtual_size_bytes':
                          group.max_virtual_size_gib * GIB,
                      'max_base_size_bytes': group.max_base_size_gib * GIB,
                      'max_store_size_bytes': group.max_store_size_gib * GIB,
                      'timeout_s': group.build_timeout_s} | changes)


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
    found = source.inspect(
        image, max_virtual_size_bytes=options.max_virtual_size_bytes,
        allow_backing_chain=options.allow_backing_chain)
    sha256 = source.digest(found,
                           lambda part: progress('reading the image', part))
    image_key = basestore.image_key(sha256, options.rootfs, options.scope)
    with _locked(store, image_key, progress):
        published = store.built_from(sha256, options.rootfs, options.scope,
                                     options.minimum_format)
        if published is not None and store.is_whole(published.key):
            return published, False
        with store.build_folder(image_key) as folder:
            try:
                with store.reporting():
                    key = _Build(store, found, sha256, folder, options,
                                 progress).run()
            except exception.ProgramFailed as e:
                with store.reporting():  # was it this, or the disk?
                    diskerrors.try_out(os.path.join(folder, 'trial'),
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


class _Build:
    """One build: its stages share the folder and what they found out."""

    def __init__(self, store, found, sha256, folder, options, progress):
        self._store = store
        self._source = found
        self._sha256 = sha256
        self._folder = folder
        self._options = options
        self._progress = progress
        self._target = self._path('base')
        self._filesystem = self._path('rootfs')

    def run(self):
        os.mkdir(self._target)
        # what the copy takes; the base is about as large as a rule
        self._make_room(sum(sparse.written_bytes(path)
                            for path in self._source.chain))
        copy = self._take_copy()
        with open(self._filesystem, 'xb') as f:
            f.truncate(self._options.max_base_size_bytes)
        target = appliance_module.Drive(self._filesystem, 'raw', False,
                                        'target')
        drives = [appliance_module.Drive(copy, self._source.format, True,
                                         'image'), target]
        self._progress('starting the appliance', None)
        with appliance_module.Appliance(
                self._store.folder('appliance'), drives,
                timeout_s=self._options.timeout_s,
                file_size_bytes=self._options.max_base_size_bytes) as a:
            self._progress('inspecting the image', None)
            system = operating_system.find(a, self._source.path)
            tree = operating_system.Tree(a, system, self._folder)
            self._progress('reading its kernel', None)
            kernel = kernel_module.find(tree, self._source.path)
            args = bootloader.kernel_args(tree, kernel.release)
            self._replace_fstab(a, tree)
            self._progress('measuring the files', None)
            content = rootfs_module.measure(a)
            driver = self._rootfs_driver(kernel, content)
            identity = basestore.format_1_uuid(self._sha256, driver.name)
            self._make_root(a, driver, target.device, content, identity)
        os.unlink(copy)
        self._progress('writing the initramfs', None)
        self._write_kernel(kernel)
        content_bytes = driver.size_bytes(self._filesystem)
        root_pmem = self._write_root_pmem(content_bytes, identity)
        files = {basefiles.ROOT_PMEM: root_pmem,
                 basefiles.KERNEL: basefiles.File.of(self._path('base/kernel')),
                 basefiles.INITRAMFS: basefiles.File.of(self._path('base/initramfs'))}
        key = basestore.key_of(root_pmem.sha256, self._sha256,
                               self._options.scope)
        basefiles.Manifest(
            format=basefiles.FORMAT, key=key, uuid=identity,
            image_sha256=self._sha256, image_format=self._source.format,
            image_virtual_size_bytes=self._source.virtual_size_bytes,
            distro=f'{system.distro} {system.version}',
            product=system.product, rootfs=driver.name,
            rootfs_size_bytes=content_bytes, kernel_release=kernel.release,
            kernel_others=list(kernel.others), kernel_args=args,
            devices=list(kernel.devices), files=files,
            built_at=datetime.datetime.now(datetime.UTC).isoformat(
                timespec='seconds'),
            built_by=version.VersionInfo('nova-flexmem').release_string(),
            scope=self._options.scope, rootfs_asked=self._options.rootfs,
            boot_id=bootfiles.boot_id(),
        ).write(self._path('base/manifest.json'))
        self._progress('publishing the base', None)
        self._make_room(room.allocated_bytes(self._target))
        self._store.publish(self._target, key)
        return key

    def _path(self, name):
        return os.path.join(self._folder, name)

    def _make_room(self, size_bytes):
        """Keep the store to its limit with a base of a size in it."""
        # what the build takes meanwhile goes at its end, and what Nova
        # downloaded for it does then
        going_bytes = (room.allocated_bytes(self._folder)
                       + self._downloaded_bytes())
        room.make_room(self._store, size_bytes - going_bytes,
                       self._options.max_store_size_bytes)

    def _downloaded_bytes(self):
        downloads = self._store.folder('downloads')
        return sum(os.stat(path).st_blocks * 512
                   for path in self._source.chain
                   if os.path.dirname(path) == downloads)

    def _take_copy(self):
        copy = source.take(
            self._source, self._sha256, self._folder,
            timeout_s=self._options.timeout_s,
            progress=lambda part: self._progress('copying the image', part))
        # what was inspected may have been another file of the same name
        source.inspect(copy, max_virtual_size_bytes=self._options
                       .max_virtual_size_bytes)
        return copy

    def _replace_fstab(self, appliance, tree):
        """Lay the reduced fstab over the image's, which stays as it is."""
        encoded = base64.b64encode(
            tree.reduced_fstab.encode(errors='surrogateescape')).decode()
        appliance.shell(f"""
            fstab=/sysroot{operating_system.FSTAB}
            if [ -f $fstab ] && ! [ -L $fstab ] && ! [ -L /sysroot/etc ]; then
                cp -a $fstab /tmp/fstab
                echo {encoded} | base64 -d > /tmp/fstab
                touch -r $fstab /tmp/fstab
                mount --bind /tmp/fstab $fstab
            fi""")

    def _rootfs_driver(self, kernel, content):
        wanted = self._options.rootfs
        names = kernel.rootfs if wanted == 'auto' else (wanted,)
        if not set(names) <= set(kernel.rootfs):
            raise exception.ImageRefused(
                image=self._source.path, reason=f'its kernel {kernel.release}'
                f' cannot mount {wanted} with DAX; build it with'
                ' --rootfs auto')
        for driver in map(rootfs_module.load, names):
            if driver.holds(content):
                return driver
        odd = ('names of 255 bytes' if content.longest_names
               else 'properties of btrfs, such as compression')
        raise exception.ImageRefused(
            image=self._source.path, reason=f'files in it have {odd}, and'
            f' {" and ".join(names)} cannot have them; build it with --rootfs'
            ' auto')

    def _make_root(self, appliance, driver, device, content, identity):
        needed_bytes = driver.room_bytes(content)
        if needed_bytes > self._options.max_base_size_bytes:
            raise exception.ImageRefused(
                image=self._source.path, reason='its base would need'
                f' {needed_bytes / GIB:.1f} GiB, the limit is '
                f'{self._options.max_base_size_bytes / GIB:.1f} GiB; raise'
                ' [flexmem] max_base_size_gib to build it')
        self._make_room(needed_bytes)
        # all the space now: a disk that is full later would fail the build
        # after minutes
        with open(self._filesystem, 'r+b') as f:
            os.posix_fallocate(f.fileno(), 0, needed_bytes)
        stage = f'making the {driver.name} root filesystem'
        with sparse.Watch(self._filesystem, content.blocks * 4096,
                          lambda part: self._progress(stage, part)):
            driver.make(appliance, device, content, identity)

    def _write_kernel(self, kernel):
        handover.write(self._target, kernel.image,
                       initramfs.pack(kernel.modules))

    def _write_root_pmem(self, content_bytes, identity):
        written = rootpmem.write(
            self._path('base/root.pmem'), self._filesystem, content_bytes,
            identity,
            lambda part: self._progress('writing root.pmem', part))
        os.unlink(self._filesystem)
        return written
