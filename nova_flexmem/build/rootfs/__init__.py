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

"""Root filesystems of bases: the plugins of nova_flexmem.rootfs."""

import abc
import dataclasses
import os

from stevedore import driver

from nova_flexmem import exception

NAMESPACE = 'nova_flexmem.rootfs'

#: Newest time that a base's files may have. mkfs would write the present
#: into the superblock; with this, two builds of one image are equal.
EPOCH = 4102444800  # 2100-01-01


@dataclasses.dataclass(frozen=True)
class Content:
    """What a root tree holds; files with several names count once.

    :ivar blocks: 4 KiB blocks of all files and folders
    :ivar longest_names: number of files with a name of 255 bytes, the longest
        that Linux has
    :ivar btrfs_properties: number of the files' properties (see
        btrfs-property(8)), which btrfs shows as extended attributes
    """

    blocks: int
    inodes: int
    longest_names: int = 0
    btrfs_properties: int = 0


class RootFilesystem(abc.ABC):
    """Makes one kind of root filesystem, inside an appliance."""

    #: As mount -t calls it in the guest.
    name: str
    #: The program that makes it.
    program: str

    #: Where the superblock is, in ext4 and EROFS alike, and its size there.
    superblock_offset = superblock_bytes = 1024

    def holds(self, content):
        """Return whether all of a Content can be in it."""
        return True

    @abc.abstractmethod
    def room_bytes(self, content):
        """Return how large the filesystem of a Content can get, in bytes."""

    @abc.abstractmethod
    def make(self, appliance, device, content):
        """Make a filesystem of the tree at /sysroot, with the nil uuid.

        The same tree gives the same bytes.

        :param appliance: a running Appliance
        :param device: the disk or partition in it to write to, all zeros
        :param content: a Content: what is at /sysroot
        :raises: ProgramFailed
        """

    @abc.abstractmethod
    def size_in(self, superblock):
        """Return the filesystem's size in bytes as its superblock says it.

        :param superblock: superblock_bytes bytes
        :returns: 0 if that is none
        """

    @abc.abstractmethod
    def with_uuid(self, superblock, uuid):
        """Return a superblock of make() with another uuid.

        No checksum in the filesystem covers the uuid then: a base's own
        digests cover all of it.

        :param superblock: superblock_bytes bytes
        :param uuid: text
        :returns: the superblock, of the same size
        """

    def size_bytes(self, path, offset_bytes=0):
        """Return the size of the filesystem in a file, in bytes.

        What is in the file comes from the appliance.

        :param offset_bytes: where it begins
        :raises: ProgramFailed if there is no such filesystem, or not all of
            it is in the file
        """
        with open(path, 'rb') as f:
            f.seek(offset_bytes + self.superblock_offset)
            superblock = f.read(self.superblock_bytes)
        size = (self.size_in(superblock)
                if len(superblock) == self.superblock_bytes else 0)
        if not 0 < size <= os.path.getsize(path) - offset_bytes:
            raise exception.ProgramFailed(program=self.program,
                                          reason='it made no filesystem')
        return size


def load(name):
    """Return the RootFilesystem that [flexmem] rootfs or a manifest names."""
    return driver.DriverManager(NAMESPACE, name, invoke_on_load=True).driver
