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

"""The delta as Nova's root disk: in the format of the host's image backend."""

import contextlib
import json
import os
import tempfile

from oslo_utils import fileutils

import nova.conf
from nova import exception as nova_exception

from nova_flexmem import files
from nova_flexmem.guest import delta
from nova_flexmem.image import source
from nova_flexmem import process

CONF = nova.conf.CONF

#: Backends that keep an instance's root disk in a file of its folder.
IMAGES_TYPES = ('default', 'qcow2', 'raw', 'flat')

#: Seconds for a look at a disk.
_TIMEOUT_S = 600

#: What a filesystem on it begins with.
_START_BYTES = 4096

#: The flavor limits the size of snapshots.
_ANY_SIZE = 1 << 62


def provide(backend, size_bytes, snapshot=None):
    """Make an instance's delta, or grow the one it has.

    The guest grows the filesystem on it when it starts.

    :param backend: Nova's image backend of the root disk
    :param snapshot: a context manager that gives the path of the layered
        snapshot that a new delta begins with, None for an empty one
    :returns: whether it was made
    :raises: ProgramFailed; ImageRefused if the snapshot isn't a disk that
        stands on its own, BuildFailed if it can't be read;
        FlavorDiskSmallerThanImage
    """
    if backend.exists():
        _have_format(backend)
        if size_bytes > _size_bytes(backend.path, backend.driver_format):
            _resize(backend.path, backend.driver_format, size_bytes)
        return False
    if snapshot is None:
        with _publishing(backend, size_bytes) as path:
            delta.create(path, size_bytes)
        return True
    with snapshot as file:
        disk = source.inspect(file, max_virtual_size_bytes=_ANY_SIZE)
        check_size(size_bytes, disk.virtual_size_bytes)
        with _publishing(backend, size_bytes) as path:
            _convert(file, disk.format, path, 'raw', size_bytes)
            _resize(path, 'raw', size_bytes)
    return True


def is_delta(path):
    """Return whether the root disk at a path is a delta, by its label.

    It is read in the format that Nova wrote down for it.

    :raises: ProgramFailed, OSError
    """
    if _format_noted(path) == 'qcow2':
        with open(path, 'rb') as f:
            header = f.read(16)
        if header[8:16].strip(b'\0'):
            return False  # it has a backing file, as stock disks have
        with tempfile.NamedTemporaryFile() as start:
            process.run('qemu-img', 'dd', '-f', 'qcow2', '-O', 'raw',
                        f'bs={_START_BYTES}', 'count=1', f'if={path}',
                        f'of={start.name}', timeout_s=_TIMEOUT_S)
            return _is_labelled(start.name)
    return _is_labelled(path)


def _format_noted(path):
    with contextlib.suppress(FileNotFoundError):
        with open(os.path.join(os.path.dirname(path), 'disk.info'),
                  encoding='utf-8') as f:
            formats = json.load(f)
        if path in formats:
            return formats[path]
    return ('raw' if CONF.libvirt.images_type in ('raw', 'flat')
            else 'qcow2')


def _is_labelled(path):
    # the superblock of ext4, linux/fs/ext4/ext4.h: at 1024; s_magic at 56,
    # s_volume_name at 120
    with open(path, 'rb') as f:
        block = f.read(_START_BYTES)[1024:]
    return (block[56:58] == b'\x53\xef' and
            block[120:136].rstrip(b'\0') == delta.LABEL.encode())


def check_size(size_bytes, needed_bytes):
    """Check that a root disk is not smaller than its image, as stock ones are.

    :raises: FlavorDiskSmallerThanImage
    """
    if size_bytes < needed_bytes:
        raise nova_exception.FlavorDiskSmallerThanImage(
            flavor_size=size_bytes, image_size=needed_bytes)


@contextlib.contextmanager
def _publishing(backend, size_bytes):
    """Give the path for a raw disk, which then appears as the backend's.

    It is on the disk then: Nova deletes the snapshot that a shelved instance
    came back from.
    """
    raw, ready = f'{backend.path}.raw', f'{backend.path}.ready'
    try:
        fileutils.delete_if_exists(raw)  # of a nova-compute that was killed
        yield raw
        if backend.driver_format == 'raw':
            _pin_format(backend)
            os.rename(raw, ready)
        else:
            _convert(raw, 'raw', ready, backend.driver_format, size_bytes)
        if backend.preallocate:
            process.write_disk('fallocate', '-n', '-l', str(size_bytes), ready,
                               size_bytes=size_bytes)
        _replace(backend.path, ready)
    finally:
        fileutils.delete_if_exists(raw)
        fileutils.delete_if_exists(ready)


def _have_format(backend):
    """Turn a disk that comes from a host with raw disks into the backend's.

    disk.info, which comes with it, says what it is. A guest can write to a raw
    disk what a qcow2 begins with.
    """
    path_format = backend.resolve_driver_format()
    if path_format == backend.driver_format:
        return
    ready = f'{backend.path}.ready'
    try:
        _convert(backend.path, path_format, ready, backend.driver_format,
                 _size_bytes(backend.path, path_format))
        _replace(backend.path, ready)
    finally:
        fileutils.delete_if_exists(ready)
    _note_format(backend)


def _note_format(backend):
    """Write into disk.info what a disk is; Nova never changes an entry."""
    with open(backend.disk_info_path, encoding='utf-8') as f:
        formats = json.load(f)
    temporary = f'{backend.disk_info_path}.new'
    with open(temporary, 'w', encoding='utf-8') as f:
        json.dump(formats | {backend.path: backend.driver_format}, f)
    _replace(backend.disk_info_path, temporary)


def _replace(path, ready):
    """Have a file that is ready in the place of another, and on the disk."""
    files.sync(ready)
    os.rename(ready, path)
    files.sync(os.path.dirname(path))


def _pin_format(backend):
    """Have Nova take a raw disk for raw, whatever it begins with.

    Nova asks a raw disk itself what it is, when it first sees it, and keeps
    the answer in disk.info. What a tenant put into a snapshot may begin like
    a qcow2 whose backing file is a file of the host.
    """
    backend._get_driver_format = lambda: 'raw'
    backend.driver_format = backend.resolve_driver_format()


def _size_bytes(path, path_format):
    info = process.run('qemu-img', 'info', '--output=json', '-f', path_format,
                       path, timeout_s=_TIMEOUT_S)
    return json.loads(info)['virtual-size']


def _convert(path, path_format, target, target_format, size_bytes):
    process.write_disk('qemu-img', 'convert', '-f', path_format, '-O',
                       target_format, path, target, size_bytes=size_bytes)


def _resize(path, path_format, size_bytes):
    process.write_disk('qemu-img', 'resize', '-q', '-f', path_format, path,
                       str(size_bytes), size_bytes=size_bytes)
