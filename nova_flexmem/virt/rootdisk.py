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
import os

from oslo_utils import fileutils

from nova import exception as nova_exception

from nova_flexmem.base import delta
from nova_flexmem.base import source
from nova_flexmem import process

_TIMEOUT_S = 600

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
        stands on its own; FlavorDiskSmallerThanImage
    """
    if backend.exists():
        if size_bytes > backend.get_disk_size(backend.path):
            _resize(backend.path, backend.driver_format, size_bytes)
        return False
    if snapshot is None:
        with _publishing(backend) as path:
            delta.create(path, size_bytes)
        return True
    with snapshot as file:
        found = source.inspect(file, max_virtual_size_bytes=_ANY_SIZE)
        check_size(size_bytes, found.virtual_size_bytes)
        with _publishing(backend) as path:
            _convert(file, found.format, path, 'raw')
            _resize(path, 'raw', size_bytes)
    return True


def check_size(size_bytes, needed_bytes):
    """Check that a root disk is not smaller than its image, as stock ones are.

    :raises: FlavorDiskSmallerThanImage
    """
    if size_bytes < needed_bytes:
        raise nova_exception.FlavorDiskSmallerThanImage(
            flavor_size=size_bytes, image_size=needed_bytes)


@contextlib.contextmanager
def _publishing(backend):
    """Give the path for a raw disk, which then appears as the backend's."""
    raw, ready = f'{backend.path}.raw', f'{backend.path}.ready'
    try:
        fileutils.delete_if_exists(raw)  # of a nova-compute that was killed
        yield raw
        if backend.driver_format == 'raw':
            os.rename(raw, ready)
        else:
            _convert(raw, 'raw', ready, backend.driver_format)
        if backend.preallocate:
            process.run('fallocate', '-n', '-l', str(os.path.getsize(raw)),
                        ready, timeout_s=_TIMEOUT_S)
        os.rename(ready, backend.path)
    finally:
        fileutils.delete_if_exists(raw)
        fileutils.delete_if_exists(ready)


def _convert(path, path_format, target, target_format):
    process.run('qemu-img', 'convert', '-f', path_format, '-O', target_format,
                path, target, timeout_s=_TIMEOUT_S)


def _resize(path, path_format, size_bytes):
    process.run('qemu-img', 'resize', '-q', '-f', path_format, path,
                str(size_bytes), timeout_s=_TIMEOUT_S)
