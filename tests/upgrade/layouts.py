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

"""root.pmem files of one tree, as hosts of several releases make them."""

import dataclasses
import hashlib
import os
import shutil
import uuid as uuidlib

from nova_flexmem.build import rootfs
from nova_flexmem.build import rootpmem
from nova_flexmem.store import superblock

#: What the uuid of bases of format 1 follows from.
IMAGE_UUID = str(uuidlib.uuid5(uuidlib.NAMESPACE_OID, 'one image'))

_BLOCK_BYTES = 4096


@dataclasses.dataclass(frozen=True)
class Layout:
    """A root.pmem.

    :ivar sha256: of all of it
    :ivar uuid: of the pfn superblock and of the filesystem
    """

    path: str
    sha256: str
    uuid: str
    rootfs: str = 'erofs'

    @property
    def kernel_args(self):
        """What /init is told of it."""
        return (f'flexmem.base={self.uuid} flexmem.layout={self.sha256[:32]}'
                f' flexmem.rootfs={self.rootfs} flexmem.writes=disk')


class _Appliance:
    """Runs what a RootFilesystem has its appliance run, with other programs.

    :param release: a releases.Release
    :param root: the folder that is at /sysroot
    """

    def __init__(self, release, root):
        self._release = release
        self._root = root

    def shell(self, script):
        return self._release.shell(script.replace('/sysroot', self._root))


def make(path, release, root, name='erofs'):
    """Make a root.pmem as this version of the package does.

    :param path: of the file to make
    :param release: the releases.Release whose mkfs makes it
    :param root: the folder with the tree
    :param name: of the root filesystem
    :returns: a Layout
    """
    driver = rootfs.load(name)
    filesystem = f'{path}.{name}'
    content = measure(root)
    if name == 'ext4':
        with open(filesystem, 'xb') as f:
            f.truncate(driver.room_bytes(content))
    driver.make(_Appliance(release, root), filesystem, content)
    size_bytes = os.path.getsize(filesystem)
    rootpmem.create(path, size_bytes)
    with open(filesystem, 'rb') as reading, open(path, 'r+b') as writing:
        writing.seek(superblock.DATA_OFFSET_BYTES)
        shutil.copyfileobj(reading, writing)
    os.unlink(filesystem)
    made = rootpmem.finish(path, driver, lambda part: None)
    return Layout(path, made.file.sha256, made.uuid, name)


def make_format_1(path, release, root, uuid=IMAGE_UUID):
    """Make a root.pmem as commit 67fc24c does; see make().

    :param uuid: follows from the image
    """
    release.shell(f'SOURCE_DATE_EPOCH={rootfs.EPOCH} mkfs.erofs --quiet'
                  f' -E noinline_data -U {uuid} {path}.erofs {root}')
    with open(f'{path}.erofs', 'rb') as f:
        content = f.read()
    os.unlink(f'{path}.erofs')
    size = superblock.padded(superblock.DATA_OFFSET_BYTES + len(content))
    content = (superblock.pack(size, uuid) + content).ljust(size, b'\0')
    with open(path, 'xb') as f:
        f.write(content)
    return Layout(path, hashlib.sha256(content).hexdigest(), uuid)


def measure(root):
    """Return the rootfs.Content of a folder."""
    blocks, inodes = 0, set()
    for folder, _folders, files in os.walk(root):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            status = os.lstat(path)
            if status.st_ino not in inodes:
                inodes.add(status.st_ino)
                blocks += max(1, -(-status.st_size // _BLOCK_BYTES))
    return rootfs.Content(blocks, len(inodes))
