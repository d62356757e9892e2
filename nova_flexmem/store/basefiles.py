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

"""A base: a published base directory, and the manifest that describes it."""

import dataclasses
import hashlib
import json
import os
import typing
import uuid

from nova_flexmem import exception
from nova_flexmem.store import superblock

#: Grows when bases are made in another way. Older ones stay of use: instances
#: run on them, and their deltas fit no other layout.
FORMAT = 2
_FORMATS = (1, FORMAT)

#: For what is in kernel and initramfs see handover.
ROOT_PMEM, KERNEL, INITRAMFS = FILES = ('root.pmem', 'kernel', 'initramfs')
MANIFEST = 'manifest.json'

#: Fields that are only written where they say something: earlier versions of
#: format 2 take a manifest without them.
_WHERE_NEEDED = ('kernels_passed_over', 'driver_pack')

_CHUNK_BYTES = 4 << 20

#: What reading a manifest that is damaged ends in.
_UNUSABLE = (OSError, ValueError, KeyError, TypeError, AttributeError,
             RecursionError)


@dataclasses.dataclass(frozen=True)
class File:
    """A file of a base directory."""

    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, path):
        """Return the File at a path."""
        with open(path, 'rb') as f:
            return cls(os.path.getsize(path),
                       hashlib.file_digest(f, 'sha256').hexdigest())


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a base was built from, and what it must be.

    :ivar key: the base directory's name
    :ivar uuid: of the pfn superblock and of the root filesystem
    :ivar image_sha256: of the image's file; of a backing chain, see
        imagebytes.digest
    :ivar rootfs: the root filesystem, a driver of nova_flexmem.rootfs
    :ivar rootfs_size_bytes: of the root filesystem in root.pmem
    :ivar devices: the FlexMem devices that the kernel has drivers for
    :ivar kernel_args: the image's own kernel command line, less the root
        device's arguments
    :ivar files: {name: File} of the base directory, without the manifest
    :ivar scope: who shares the base, part of the key; empty: everybody
    :ivar rootfs_asked: the setting of [flexmem] rootfs that it was built with;
        '' in format 1
    :ivar boot_id: which /init and hand-over code its kernel and initramfs
        have, see build.bootfiles; '' in format 1
    :ivar kernels_passed_over: {release: reason} of kernels that the image
        would rather boot, but that cannot run a FlexMem guest
    :ivar driver_pack: the driverpacks.Pack that modules of the kernel are
        from, with all digests; empty if they are the image's own
    """

    format: int
    key: str
    uuid: str
    image_sha256: str
    image_format: str
    image_virtual_size_bytes: int
    distro: str
    product: str
    rootfs: str
    rootfs_size_bytes: int
    kernel_release: str
    kernel_others: list[str]
    kernel_args: str
    devices: list[str]
    files: dict[str, File]
    built_at: str
    built_by: str
    scope: str = ''
    rootfs_asked: str = ''
    boot_id: str = ''
    kernels_passed_over: dict[str, str] = dataclasses.field(
        default_factory=dict)
    driver_pack: dict[str, typing.Any] = dataclasses.field(
        default_factory=dict)

    def write(self, path):
        """Write manifest.json: the fields, and their own digest."""
        fields = dataclasses.asdict(self)
        for name in _WHERE_NEEDED:
            if not fields[name]:
                del fields[name]
        fields['sha256'] = _digest(fields)
        with open(path, 'x', encoding='utf-8') as f:
            json.dump(fields, f, indent=2, sort_keys=True)
            f.write('\n')

    @classmethod
    def read(cls, path, key):
        """Read manifest.json.

        :raises: BaseDamaged
        """
        try:
            with open(path, encoding='utf-8') as f:
                fields = json.load(f)
            # those of earlier versions have none
            wanted = fields.pop('sha256', None)
            if wanted is not None and wanted != _digest(fields):
                raise ValueError('its content has changed')
            fields['files'] = {name: File(**fields['files'][name])
                               for name in FILES}
            manifest = cls(**fields)
            manifest._check()
        except _UNUSABLE as e:
            raise exception.BaseDamaged(
                path=path, key=key, reason=f'not a usable manifest ({e})')
        if manifest.key != key or manifest.format not in _FORMATS:
            raise exception.BaseDamaged(
                path=path, key=key, reason=f'it is of base {manifest.key},'
                f' format {manifest.format}; this version of nova-flexmem'
                f' knows formats {_FORMATS[0]} to {FORMAT}')
        return manifest

    def _check(self):
        """Raise ValueError or TypeError if another field has no sense."""
        uuid.UUID(self.uuid)
        if not isinstance(self.kernel_args, str):
            raise TypeError('kernel_args')
        for name, file in self.files.items():
            if file.size_bytes < 0:
                raise ValueError(f'size of {name}')
        if self.files[ROOT_PMEM].size_bytes % superblock.ALIGN_BYTES:
            raise ValueError(f'size of {ROOT_PMEM}')


def _digest(fields):
    """Return the SHA-256 of a manifest's other fields, hexadecimal."""
    return hashlib.sha256(
        json.dumps(fields, sort_keys=True).encode()).hexdigest()


class Base:
    """A published base.

    :param path: the base directory
    :raises: BaseDamaged if its manifest can't be used
    """

    def __init__(self, path):
        self.path = path
        self.key = os.path.basename(path)
        self.manifest = Manifest.read(os.path.join(path, MANIFEST), self.key)

    @property
    def layout(self):
        """What its files' inode numbers follow from: root.pmem's SHA-256."""
        return self.manifest.files[ROOT_PMEM].sha256

    def file(self, name):
        """Return the path of one of FILES."""
        return os.path.join(self.path, name)

    def states(self):
        """Return {name: what changes when a file of the base is changed}.

        :raises: BaseDamaged if a file is missing or has another size
        """
        states = {}
        for name, wanted in self.manifest.files.items():
            try:
                status = os.stat(self.file(name))
            except OSError as e:
                raise self._damaged(name, e.strerror)
            if status.st_size != wanted.size_bytes:
                raise self._damaged(
                    name, f'{status.st_size} bytes, not {wanted.size_bytes}')
            states[name] = [status.st_dev, status.st_ino, status.st_mtime_ns,
                            status.st_ctime_ns]
        return states

    def verify(self, progress=None):
        """Read every byte of the base again.

        :param progress: called with the fraction done, 0 to 1
        :raises: BaseDamaged if anything is not what the manifest says
        """
        self.states()
        total = sum(f.size_bytes for f in self.manifest.files.values())
        done = 0
        for name, wanted in self.manifest.files.items():
            sha256 = hashlib.sha256()
            try:
                with open(self.file(name), 'rb') as f:
                    while chunk := f.read(_CHUNK_BYTES):
                        sha256.update(chunk)
                        done += len(chunk)
                        if progress:
                            progress(done / total)
            except OSError as e:
                raise self._damaged(name, e.strerror)
            if sha256.hexdigest() != wanted.sha256:
                raise self._damaged(name, 'its content has changed')
        superblock.check(self.file(ROOT_PMEM), self.key,
                         self.manifest.files[ROOT_PMEM].size_bytes,
                         self.manifest.uuid)

    def _damaged(self, name, reason):
        return exception.BaseDamaged(path=self.file(name), key=self.key,
                                     reason=reason)
