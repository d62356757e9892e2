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

"""The delta as Nova's root disk, wherever the host keeps root disks."""

import abc

from nova import exception as nova_exception

from nova_flexmem.guest import delta
from nova_flexmem.image import source
from nova_flexmem.virt import diskformat

#: The flavor limits the size of snapshots.
_ANY_SIZE = 1 << 62


class RootDisk(abc.ABC):
    """The root disk of an instance, as one kind of host keeps it.

    :param instance: Nova's instance
    :param backend: Nova's image backend of the disk; None where the disk is
        only looked at
    """

    def __init__(self, instance, backend=None):
        self._instance = instance
        self._backend = backend

    @abc.abstractmethod
    def exists(self):
        """Return whether the disk is there."""

    @abc.abstractmethod
    def is_delta(self):
        """Return whether the disk is a delta, by its label.

        :raises: ProgramFailed, OSError
        """

    @abc.abstractmethod
    def grow(self, size_bytes):
        """Grow the disk to a size if it is smaller."""

    @abc.abstractmethod
    def publishing(self, size_bytes):
        """Give the path for a raw file, which then appears as the disk.

        The disk is on the storage then: Nova deletes the snapshot that a
        shelved instance came back from.

        :returns: a context manager
        """


def provide(disk, size_bytes, snapshot=None):
    """Make an instance's delta, or grow the one it has.

    The guest grows the filesystem on it when it starts.

    :param disk: the RootDisk
    :param snapshot: a context manager that gives the path of the layered
        snapshot that a new delta begins with, None for an empty one
    :returns: whether it was made
    :raises: ProgramFailed; ImageRefused if the snapshot isn't a disk that
        stands on its own, BuildFailed if it can't be read;
        FlavorDiskSmallerThanImage
    """
    if disk.exists():
        disk.grow(size_bytes)
        return False
    if snapshot is None:
        with disk.publishing(size_bytes) as path:
            delta.create(path, size_bytes)
        return True
    with snapshot as file:
        found = source.inspect(file, max_virtual_size_bytes=_ANY_SIZE)
        check_size(size_bytes, found.virtual_size_bytes)
        with disk.publishing(size_bytes) as path:
            diskformat.convert(file, found.format, path, 'raw', size_bytes)
            diskformat.resize(path, 'raw', size_bytes)
    return True


def check_size(size_bytes, needed_bytes):
    """Check that a root disk is not smaller than its image, as stock ones are.

    :raises: FlavorDiskSmallerThanImage
    """
    if size_bytes < needed_bytes:
        raise nova_exception.FlavorDiskSmallerThanImage(
            flavor_size=size_bytes, image_size=needed_bytes)
