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
from nova.virt.libvirt import utils as libvirt_utils

from nova_flexmem import exception
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

    #: Traits by which other hosts know where this host keeps root disks.
    TRAITS: tuple[str, ...] = ()

    def __init__(self, instance, backend=None):
        self._instance = instance
        self._backend = backend

    @property
    def _folder(self):
        return libvirt_utils.get_instance_path(self._instance)

    @property
    @abc.abstractmethod
    def source(self):
        """What a domain's XML names the disk: a path, or pool and name."""

    @staticmethod
    @abc.abstractmethod
    def reserved_mib(bases):
        """Return what the base store takes of what root disks are kept in.

        :param bases: the host's Bases
        """

    @abc.abstractmethod
    def exists(self):
        """Return whether the disk is there."""

    @abc.abstractmethod
    def is_certainly_stock(self):
        """Return whether the disk is there, and is no delta by its content.

        :raises: ProgramFailed, OSError
        """

    @staticmethod
    def storage(conf):
        """Return the host.ceph.Ceph that root disks are in; else None.

        :param conf: a ConfigOpts with Nova's options of group [libvirt]
        """
        return None

    # -- making it

    @abc.abstractmethod
    def grow(self, size_bytes):
        """Grow the disk to a size if it is smaller."""

    @abc.abstractmethod
    def publishing(self, size_bytes, record):
        """Give the path for a raw file, which then appears as the disk.

        The disk is on the storage then: Nova deletes the snapshot that a
        shelved instance came back from.

        :param record: the Record of the instance
        :returns: a context manager
        """

    def clone(self, context, image_id, size_bytes, record):
        """Make the disk of a layered snapshot without a copy of its data.

        :param image_id: the snapshot's Glance id
        :returns: whether it was made; if not, it is to be downloaded
        :raises: FlavorDiskSmallerThanImage
        """
        return False

    def begin_resize(self):
        """Keep the disk as it is, so that a resize can be reverted.

        :raises: InstanceRefused if the disk is not here; an empty one must not
            take its place
        """
        if not self.exists():
            raise exception.InstanceRefused(
                reason=f'its disk {self.source} is not on this host; move it'
                ' to a host with the same [libvirt] images_type and storage')
        # of an attempt that failed
        self._backend.remove_snap(libvirt_utils.RESIZE_SNAPSHOT_NAME,
                                  ignore_errors=True)
        self._backend.create_snap(libvirt_utils.RESIZE_SNAPSHOT_NAME)

    @abc.abstractmethod
    def remove(self):
        """Remove what is not in the instance's folder."""

    # -- its record

    @abc.abstractmethod
    def record(self, ask=True):
        """Return the Record that is kept with the disk, None if there is none.

        :param ask: whether to look where it takes time, although nothing on
            this host says that there is one
        :raises: RecordUnusable
        """

    @abc.abstractmethod
    def require_record(self):
        """Return the Record of an instance that must have one.

        :raises: RecordUnusable
        """

    @abc.abstractmethod
    def write_record(self, record):
        """Keep a Record with the disk."""

    # -- snapshots

    def check_snapshot_of_running(self, context):
        """Check that a guest can run on while a snapshot is taken.

        :raises: InstanceRefused
        """


def provide(disk, size_bytes, record, snapshot=None):
    """Make an instance's delta, or grow the one it has.

    The guest grows the filesystem on it when it starts.

    :param disk: the RootDisk
    :param record: the Record of the instance
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
        with disk.publishing(size_bytes, record) as path:
            delta.create(path, size_bytes)
        return True
    with snapshot as file:
        found = source.inspect(file, max_virtual_size_bytes=_ANY_SIZE)
        check_size(size_bytes, found.virtual_size_bytes)
        with disk.publishing(size_bytes, record) as path:
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
