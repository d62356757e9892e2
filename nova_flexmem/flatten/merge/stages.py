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

"""Where files of an image wait until the place that they move to is there."""

import os
import subprocess

from nova_flexmem.flatten.merge import files

#: Name of a stage; none that a guest could have foreseen.
_NAME = b'.flexmem-' + os.urandom(8).hex().encode()


class Stages:
    """Folders to wait in, one in the top folder of each filesystem.

    :param mounts: files.Mounts of the image's tree
    """

    def __init__(self, mounts):
        self._mounts = mounts
        self._folders = {}  # mount point: its stage

    def at(self, path):
        """Return the folder where what is at a path can wait."""
        point = self._mounts.of(path)
        if point not in self._folders:
            folder = os.path.join(point, _NAME)
            os.mkdir(folder)
            self._folders[point] = folder
        return self._folders[point]

    def remove(self):
        """Remove them, with what nobody took."""
        for point, folder in self._folders.items():
            status = os.lstat(point)
            files.Remover(self._mounts, ()).remove(folder)
            os.utime(point, ns=(status.st_atime_ns, status.st_mtime_ns))


def move(path, to):
    """Rename a file or folder, or copy it to another filesystem.

    :raises: Unmergeable
    """
    try:
        os.rename(path, to)
    except OSError:  # another filesystem or subvolume: mv copies
        done = subprocess.run(['mv', '-T', '--', path, to], check=False,
                              stderr=subprocess.PIPE)
        if done.returncode:
            raise files.Unmergeable(os.fsdecode(done.stderr.strip()))
