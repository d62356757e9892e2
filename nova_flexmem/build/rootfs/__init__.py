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
#: into the superblock; with this, one image gives one base on every host.
EPOCH = 4102444800  # 2100-01-01

#: Where the superblock is, in ext4 and EROFS alike.
_SUPERBLOCK_OFFSET = _SUPERBLOCK_BYTES = 1024


@dataclasses.dataclass(frozen=True)
class Content:
    """What a root tree holds; files with several names count once.

    :ivar blocks: 4 KiB blocks of all files and folders
    :ivar longest_names: how many have a name of 255 bytes, the most there is
    :ivar btrfs_properties: how many properties (see btrfs-property(8)) they
        have, which btrfs shows as extended attributes
    """

    blocks: int
    inodes: int
    longest_names: int = 0
    btrfs_properties: int = 0


def measure(appliance):
    """Return the Content at /sysroot in an appliance.

    :raises: ProgramFailed
    """
    said = appliance.shell(_measuring('/sysroot'))
    try:
        numbers = [*map(int, ' '.join(said).split())]
        if len(numbers) != 4 or min(numbers) < 0:
            raise ValueError
    except ValueError:
        raise exception.ProgramFailed(
            program='find', reason=f'what it says is no size: {said[:1]}')
    return Content(*numbers)


def _measuring(folder):
    """Return a shell script that prints the fields of a tree's Content."""
    return (f"LC_ALL=C find {folder} -printf '%D:%i %y %s\n'"
            f" -name '{'?' * 255}' -printf 'longest %D:%i\n' | sort -u |"
            " gawk '"
            '$1 == "longest" { longest++; next }'
            ' { inodes++; size = $2 == "d" && $3 < 4096 ? 4096 : $3;'
            ' blocks += int((size + 4095) / 4096) }'
            " END { print blocks, inodes, longest + 0 }'\n"
            f"if grep -q '^[^ ]* {folder}[^ ]* btrfs ' /proc/mounts; then"
            f" getfattr -R -P -h --absolute-names -m '^btrfs[.]' {folder} |"
            " gawk '/^btrfs[.]/ { found++ } END { print found + 0 }';"
            " else echo 0; fi")


class RootFilesystem(abc.ABC):
    """Makes one kind of root filesystem, inside an appliance."""

    #: As mount -t calls it in the guest.
    name: str
    #: The program that makes it.
    program: str

    def holds(self, content):
        """Return whether all of a Content can be in it."""
        return True

    @abc.abstractmethod
    def room_bytes(self, content):
        """Return how large the filesystem of a Content can get."""

    @abc.abstractmethod
    def make(self, appliance, device, content, uuid):
        """Make a filesystem of the tree at /sysroot.

        :param appliance: a running Appliance
        :param device: the disk in it to write to, for example /dev/sdb
        :param content: a Content: what is at /sysroot
        :param uuid: the filesystem's uuid
        """

    @abc.abstractmethod
    def size_in(self, superblock):
        """Return the filesystem's size in bytes as its superblock says it.

        :param superblock: 1024 bytes
        :returns: 0 if that is none
        """

    def size_bytes(self, path):
        """Return the size of the filesystem at the start of a file.

        What is in the file comes from the appliance.

        :raises: ProgramFailed if there is no such filesystem, or not all of
            it is in the file
        """
        with open(path, 'rb') as f:
            f.seek(_SUPERBLOCK_OFFSET)
            superblock = f.read(_SUPERBLOCK_BYTES)
        size = (self.size_in(superblock)
                if len(superblock) == _SUPERBLOCK_BYTES else 0)
        if not 0 < size <= os.path.getsize(path):
            raise exception.ProgramFailed(program=self.program,
                                          reason='it made no filesystem')
        return size


def load(name):
    """Return the RootFilesystem of a name."""
    return driver.DriverManager(NAMESPACE, name, invoke_on_load=True).driver
