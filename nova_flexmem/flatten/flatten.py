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

import dataclasses
import os
import tempfile
import typing

from oslo_log import log
from oslo_utils import units

from nova_flexmem import exception
from nova_flexmem import files
from nova_flexmem.flatten import disks
from nova_flexmem.flatten import grow
from nova_flexmem.flatten import identity
from nova_flexmem.flatten import merger as merger_module
from nova_flexmem.flatten import revise
from nova_flexmem.image import appliance as appliance_module
from nova_flexmem.image import imagebytes
from nova_flexmem.image import operating_system
from nova_flexmem.image import source
from nova_flexmem.image import sparse
from nova_flexmem.image import supermin

LOG = log.getLogger(__name__)

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
    max_virtual_size_bytes: int = 128 * units.Gi
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
    :param out: path of the file to write; it must not exist
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
    size_bytes = _size_bytes(below, out, options)
    try:
        with tempfile.TemporaryDirectory(
                prefix=f'.{os.path.basename(out)}.',
                dir=os.path.dirname(out)) as folder:
            flattened = _Flattening(store, below, above, folder, size_bytes,
                                    options, progress).write(f'{folder}/out')
            os.rename(f'{folder}/out', out)
            files.sync(os.path.dirname(out))
            return dataclasses.replace(flattened, path=out)
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


def _check_absent(out):
    if os.path.lexists(out):
        raise exception.ImageRefused(
            image=out, reason='is there already; it is not overwritten')


def _size_bytes(image, out, options):
    """Return the virtual size of what is written."""
    size_bytes = options.size_bytes or image.virtual_size_bytes
    if size_bytes < image.virtual_size_bytes:
        raise exception.ImageRefused(
            image=image.path, reason='it is larger than --size: '
            f'{image.virtual_size_bytes} bytes; give at least that')
    if size_bytes > options.max_virtual_size_bytes:
        raise exception.ImageRefused(
            image=out, reason='--size is above the limit of'
            f' {options.max_virtual_size_bytes / units.Gi:.0f} GiB; raise'
            ' [flexmem] max_virtual_size_gib')
    return size_bytes


@dataclasses.dataclass(frozen=True)
class _Flattening:
    """One flattening.

    :ivar image: the source.Source of the image; so is delta
    :ivar folder: for the overlays, and for files that pass through
    :ivar size_bytes: virtual size of what is written
    """

    store: typing.Any
    image: source.Source
    delta: source.Source
    folder: str
    size_bytes: int
    options: Options
    progress: typing.Callable

    def write(self, out):
        """Write the image; returns a Flattened."""
        before = disks.states((self.image, self.delta))
        sha256 = imagebytes.digest(
            self.image, lambda part: self.progress('reading the image', part))
        identity.check_digest(self.image.path, sha256,
                              self.options.image_sha256)
        disk = disks.overlay(os.path.join(self.folder, 'image.qcow2'),
                             self.image, self.size_bytes)
        copy_bytes = disks.copy_bytes(disk, self.options.format)
        program = merger_module.write_program(self.folder)
        drives = [appliance_module.Drive(disk, 'qcow2', False, 'image'),
                  appliance_module.Drive(disks.overlay(
                      os.path.join(self.folder, 'delta.qcow2'), self.delta,
                      self.delta.virtual_size_bytes), 'qcow2', False, 'delta'),
                  program.drive]
        self.progress('starting the appliance', None)
        home = self.store.folder('appliance')
        supermin.add_packages(home, 'flatten', merger_module.PACKAGES)
        with appliance_module.Appliance(
                home, drives, timeout_s=self.options.timeout_s,
                file_size_bytes=2 * max(
                    self.size_bytes, self.delta.virtual_size_bytes),
                below=(self.image.path, self.delta.path)) as a:
            merger = merger_module.Merger(a, program, drives[1],
                                          self.delta.path,
                                          self.options.direct_paths)
            self.progress('inspecting the image and the delta', None)
            delta_uuid = merger.mount()
            survey = merger.run('survey')
            if not self.options.image_sha256:
                identity.check_below(self.store, self.image.path, sha256,
                                     self.delta.path, survey['lower_uuid'])
            disks.check_room(self.folder,
                             copy_bytes + 2 * survey['size_bytes'],
                             self.image.path, self.delta.path)
            system, merged = self._change(a, disk, merger, delta_uuid,
                                          survey['size_bytes'])
        stage = f'writing {self.options.format}'
        disks.write(disk, out, self.options.format, self.size_bytes,
                    estimate_bytes=(sparse.written_bytes(self.image.path)
                                    + sparse.written_bytes(disk)),
                    timeout_s=self.options.timeout_s,
                    progress=lambda part: self.progress(stage, part))
        if disks.states((self.image, self.delta)) != before:
            raise exception.ImageRefused(
                image=f'{self.image.path} or {self.delta.path}',
                reason='it changed while it was read; flatten a snapshot, not'
                ' the disk of an instance that runs')
        return Flattened(
            path=out, format=self.options.format,
            virtual_size_bytes=self.size_bytes,
            system=f'{system.distro} {system.version}', **merged)

    def _change(self, a, disk, merger, delta_uuid, delta_bytes):
        """Merge the delta into the image's tree, in the appliance.

        :returns: the image's OperatingSystem, and what the merge says
        """
        system = operating_system.find(a, self.image.path)
        growth = None
        if self.size_bytes > self.image.virtual_size_bytes:
            self.progress('growing the root filesystem', None)
            growth = grow.plan(a, system.mountpoints['/'], self.image.path)
            growth.grow_unmounted()
        tree = operating_system.mount(a, system, self.folder)
        for line in a.command('mountpoints'):
            a.command('remount', line.split(': ', 1)[1], 'rw:true')
        if growth:
            growth.grow_mounted()
        boot_files = revise.boot_files(tree)
        stage = 'merging the delta into the image'
        with sparse.Watch(disk, delta_bytes,
                          lambda part: self.progress(stage, part)):
            merged = merger.run('merge')
        try:
            revise.revise(a, tree, self.folder, boot_files, delta_uuid)
        except ValueError as e:
            raise exception.ImageRefused(
                image=self.delta.path, reason=f'{e}; remove the file in the'
                ' instance and take another snapshot')
        merged['unclear'] = [*map(exception.one_line, merged['unclear'])]
        for path in merged['unclear']:
            LOG.warning('%(path)s was a hard link in the image, and the guest'
                        ' moved it: other names of it keep the content they'
                        ' have in the image', {'path': path})
        return system, merged
