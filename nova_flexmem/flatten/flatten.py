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

"""Makes an ordinary image from an instance's delta and the image below it.

A base has no boot loader and no partitions, so what is written to is a copy of
the image itself, as it was uploaded. Both disks are only ever read: what the
appliance writes, and the delta's journal when it is replayed, goes to overlays
of their own.
"""

import contextlib
import dataclasses
import json
import os
import tempfile

from oslo_log import log

from nova_flexmem import exception
from nova_flexmem import files
from nova_flexmem.flatten import grow
from nova_flexmem.flatten import merger as merger_module
from nova_flexmem.flatten import revise
from nova_flexmem.image import appliance as appliance_module
from nova_flexmem.image import imagebytes
from nova_flexmem.image import kernel
from nova_flexmem.image import operating_system
from nova_flexmem.image import source
from nova_flexmem.image import sparse
from nova_flexmem import process
from nova_flexmem.store import basestore

LOG = log.getLogger(__name__)

GIB = 1 << 30

FORMATS = ('qcow2', 'raw')


@dataclasses.dataclass(frozen=True)
class Options:
    """How a delta is flattened.

    :ivar format: of the file to write, one of FORMATS
    :ivar size_bytes: virtual size; None for the image's
    :ivar image_sha256: what the image's has to be; None where the delta can
        tell
    :ivar direct_paths: folders in the guest that lie directly on the delta
    """

    format: str = 'qcow2'
    size_bytes: int | None = None
    image_sha256: str | None = None
    direct_paths: tuple[str, ...] = ()
    max_virtual_size_bytes: int = 128 * GIB
    timeout_s: int = 1800


@dataclasses.dataclass(frozen=True)
class Flattened:
    """What was made.

    :ivar written: files and folders that came from the delta
    :ivar removed: those of the image that the guest had removed or replaced
    :ivar unclear: files the guest saw under other names of the image as
        well, which names is not known: those have the image's content
    """

    path: str
    format: str
    virtual_size_bytes: int
    system: str
    written: int
    removed: int
    unclear: list[str]


def flatten(store, image, delta, out, options=Options(),
            progress=lambda *_: None):
    """Write an ordinary image: an image with an instance's changes in it.

    :param store: a Store, for its appliance and what it knows of bases
    :param image: path of the image, as it was uploaded
    :param delta: path of the instance's delta
    :param out: path of the file to write, which must not be there
    :param progress: called with a stage's name and the fraction of it that
        is done, None where that is not known
    :returns: a Flattened
    :raises: ImageRefused, FlattenFailed; then there is no file
    """
    out = os.path.abspath(out)
    _check_absent(out)
    below, above = (source.inspect(
        path, max_virtual_size_bytes=options.max_virtual_size_bytes)
        for path in (image, delta))
    try:
        with tempfile.TemporaryDirectory(
                prefix=f'.{os.path.basename(out)}.',
                dir=os.path.dirname(out)) as folder:
            return _Flatten(store, below, above, out, folder, options,
                            progress).run()
    except merger_module.Full as e:
        raise exception.FlattenFailed(
            delta=delta, image=image,
            reason=f'{e}; give a larger virtual size with --size')
    except exception.ProgramFailed as e:
        raise exception.FlattenFailed(delta=delta, image=image, reason=str(e))
    except OSError as e:
        raise exception.FlattenFailed(
            delta=delta, image=image,
            reason=f'{os.fsdecode(e.filename or out)}: {e.strerror}')


class _Flatten:
    """One flattening; its stages share what they found out."""

    def __init__(self, store, image, delta, out, folder, options, progress):
        self._store = store
        self._image = image
        self._delta = delta
        self._out = out
        self._folder = folder
        self._options = options
        self._progress = progress
        self._size_bytes = options.size_bytes or image.virtual_size_bytes
        if self._size_bytes < image.virtual_size_bytes:
            raise exception.ImageRefused(
                image=image.path, reason='it is larger than --size: '
                f'{image.virtual_size_bytes} bytes; give at least that')
        if self._size_bytes > options.max_virtual_size_bytes:
            raise exception.ImageRefused(
                image=out, reason='--size is above the limit of'
                f' {options.max_virtual_size_bytes / GIB:.0f} GiB; raise'
                ' [flexmem] max_virtual_size_gib')

    def run(self):
        before = self._states()
        self._sha256 = imagebytes.digest(
            self._image,
            lambda part: self._progress('reading the image', part))
        if self._options.image_sha256 not in (None, self._sha256):
            raise exception.ImageRefused(
                image=self._image.path, reason='it is not what the delta lies'
                f' on: its SHA-256 is {self._sha256}, not'
                f' {self._options.image_sha256}; give the image that the'
                ' snapshot\'s property flexmem_base_image names')
        disk = self._overlay(self._image, self._size_bytes)
        self._copy_bytes = json.loads(process.run(
            'qemu-img', 'measure', '--output=json', '-f', 'qcow2', '-O',
            self._options.format, disk, timeout_s=60))['required']
        delta = appliance_module.Drive(
            self._overlay(self._delta, self._delta.virtual_size_bytes),
            'qcow2', False, 'delta')
        self._merger = merger_module.Merger(
            self._folder, delta, self._delta.path, self._options.direct_paths)
        drives = [appliance_module.Drive(disk, 'qcow2', False, 'image'),
                  delta, self._merger.drive]
        self._progress('starting the appliance', None)
        home = self._store.folder('appliance')
        merger_module.add_packages(home)
        with appliance_module.Appliance(
                home, drives, timeout_s=self._options.timeout_s,
                file_size_bytes=2 * max(
                    self._size_bytes,
                    self._delta.virtual_size_bytes)) as a:
            system, said = self._change(a, disk)
        self._write(disk)
        if self._states() != before:
            raise exception.ImageRefused(
                image=f'{self._image.path} or {self._delta.path}',
                reason='it changed while it was read; flatten a snapshot, not'
                ' the disk of an instance that runs')
        os.rename(self._path('out'), self._out)
        files.sync(os.path.dirname(self._out))
        return Flattened(
            path=self._out, format=self._options.format,
            virtual_size_bytes=self._size_bytes,
            system=f'{system.distro} {system.version}', **said)

    def _path(self, name):
        return os.path.join(self._folder, name)

    def _states(self):
        return [(status.st_dev, status.st_ino, status.st_size,
                 status.st_mtime_ns, status.st_ctime_ns)
                for status in map(os.stat, (self._image.path,
                                            self._delta.path))]

    def _overlay(self, below, size_bytes):
        name = 'delta' if below is self._delta else 'image'
        path = self._path(f'{name}.qcow2')
        process.run('qemu-img', 'create', '-q', '-f', 'qcow2', '-F',
                    below.format, '-b', below.path, path, str(size_bytes),
                    timeout_s=60)
        return path

    def _change(self, a, disk):
        """Do all that is done in the appliance."""
        self._progress('inspecting the image and the delta', None)
        delta_uuid = self._merger.mount(a)
        surveyed = self._merger.run('survey')
        self._check_identity(surveyed['lower_uuid'])
        self._check_room(surveyed['size_bytes'])
        system = operating_system.find(a, self._image.path)
        growth = None
        if self._size_bytes > self._image.virtual_size_bytes:
            self._progress('growing the root filesystem', None)
            growth = grow.Growth(a, system.mountpoints['/'],
                                 self._image.path)
            growth.grow_unmounted()
        tree = operating_system.Tree(a, system, self._folder)
        for line in a.command('mountpoints'):
            a.command('remount', line.split(': ', 1)[1], 'rw:true')
        if growth:
            growth.grow_mounted()
        reviser = revise.Reviser(a, tree, self._folder)
        stage = 'merging the delta into the image'
        with sparse.Watch(disk, surveyed['size_bytes'],
                          lambda part: self._progress(stage, part)):
            said = self._merger.run('merge')
        try:
            reviser.revise(delta_uuid)
        except ValueError as e:
            raise exception.ImageRefused(
                image=self._delta.path, reason=f'{e}; remove the file in the'
                ' instance and take another snapshot')
        said['unclear'] = [*map(exception.one_line, said['unclear'])]
        for path in said['unclear']:
            LOG.warning('%(path)s was a hard link in the image, and the guest'
                        ' moved it: other names of it keep the content they'
                        ' have in the image', {'path': path})
        return system, said

    def _check_identity(self, lower_uuid):
        """Refuse an image that the delta does not lie on.

        The overlay notes on the upper layer which filesystem is below it,
        and the base's has a uuid that follows from the image's digest.
        """
        if self._options.image_sha256:
            return
        if lower_uuid in {basestore.format_1_uuid(self._sha256, rootfs)
                          for rootfs in (kernel.EROFS, kernel.EXT4)}:
            return
        for key in self._store.keys():
            with contextlib.suppress(exception.BaseDamaged,
                                     exception.BaseNotFound):
                manifest = self._store.require(key).manifest
                if (manifest.uuid == lower_uuid
                        and manifest.image_sha256 == self._sha256):
                    return
        raise exception.ImageRefused(
            image=self._image.path, reason=f'{self._delta.path} does not say'
            f' that it lies on this image (it lies on base {lower_uuid}); if'
            ' you know that it does, give --image-sha256, as in the'
            ' snapshot\'s property flexmem_base_sha256')

    def _check_room(self, delta_bytes):
        """Refuse a disk that would be full later."""
        needed = self._copy_bytes + 2 * delta_bytes
        status = os.statvfs(self._folder)
        free = status.f_bavail * status.f_frsize
        if free < needed:
            raise exception.FlattenFailed(
                delta=self._delta.path, image=self._image.path,
                reason=f'{os.path.dirname(self._out)} has'
                f' {free / GIB:.2f} GiB free, {needed / GIB:.2f} GiB may be'
                ' needed; free space in it, or write elsewhere')

    def _write(self, disk):
        """Write what the overlay and the image are together."""
        stage = f'writing {self._options.format}'
        target = self._path('out')
        open(target, 'xb').close()
        with sparse.Watch(target, sparse.written_bytes(self._image.path)
                          + sparse.written_bytes(disk),
                          lambda part: self._progress(stage, part)):
            process.write_disk('qemu-img', 'convert', '-f', 'qcow2', '-O',
                               self._options.format, disk, target,
                               size_bytes=self._size_bytes,
                               timeout_s=self._options.timeout_s)
        files.sync(target)


def _check_absent(out):
    if os.path.lexists(out):
        raise exception.ImageRefused(
            image=out, reason='is there already; it is not overwritten')
