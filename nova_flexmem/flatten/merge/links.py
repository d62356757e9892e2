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

"""Hard links of the image that the guest saw through the overlay's index.

A file with several names in the image is copied up once, under one of them;
the others then show the copy by way of the index (index=on), though the upper
layer has no entry for them. The index names the file in the base, which is
not here. The files meant are those whose names add up: as many untouched
names in the image as the overlay counted beyond those in the upper layer.
"""

import collections
import os
import stat

from nova_flexmem.flatten.merge import files
from nova_flexmem.flatten.merge import upper as upper_module


class Links:
    """Finds the files of the image that files in the index stand for.

    :param index: the inode numbers in the index
    """

    def __init__(self, index, prefix=upper_module.PREFIX):
        self._prefix = prefix
        self._index = index
        # by inode number in the upper layer
        self._copies = {}  # (a path, status, marks)
        self._names: collections.Counter = collections.Counter()
        self._replaced = collections.defaultdict(set)  # keys it is in place of
        # by key, the (device, inode number) in the image
        self._links = {}
        self._hidden: collections.Counter = collections.Counter()  # that go
        self._paths = {}  # one of those names

    def see(self, path, status, lower):
        """Take note of a file in the upper layer, which is no folder.

        :param path: of it
        :param status: the file's, of lstat()
        :param lower: the path it hides in the image, None for none
        """
        copied = status.st_ino in self._index and stat.S_ISREG(status.st_mode)
        if copied:
            self._copies[status.st_ino] = path, status, upper_module.marks(
                path, self._prefix)
            self._names[status.st_ino] += 1
        below = files.status_of(lower) if lower else None
        if below is None:
            return
        if stat.S_ISDIR(below.st_mode):
            self.hide(lower)
        elif self._hide(lower, below) and copied:
            self._replaced[status.st_ino].add((below.st_dev, below.st_ino))

    def hide(self, folder):
        """Take note of a folder of the image that goes with all in it."""
        for parent, _folders, names in os.walk(folder):
            for name in names:
                path = os.path.join(parent, name)
                self._hide(path, os.lstat(path))

    def _hide(self, path, status):
        if not stat.S_ISREG(status.st_mode) or status.st_nlink < 2:
            return False
        key = status.st_dev, status.st_ino
        self._links[key] = status.st_nlink
        self._hidden[key] += 1
        self._paths[key] = path
        return True

    def resolve(self):
        """Say which files of the image are to get the content of copies.

        :returns: {inode number in the upper layer: path in the image}, and
            the paths in the upper layer of copies that other names in the
            image belong to, it is not clear which
        """
        decided: dict[int, tuple[int, int]] = {}
        taken = set()
        fitting = {number: self._fitting(number) for number in self._copies}
        # those that are where the file was in the image, then what is left
        for known in (self._replaced, None):
            for number, keys in fitting.items():
                keys = [key for key in keys if key not in taken
                        and (known is None or key in known[number])]
                if len(keys) == 1 and number not in decided:
                    decided[number] = keys[0]
                    taken.add(keys[0])
        return ({number: self._paths[key] for number, key in decided.items()},
                [path for number, (path, *_more) in self._copies.items()
                 if number not in decided and self._missing(number, 0) > 0])

    def _fitting(self, number):
        """Return the keys of the files whose names add up with a copy's."""
        return [key for key, names in self._links.items()
                if 0 < self._missing(number, names)
                == names - self._hidden[key]]

    def _missing(self, number, lower_names):
        """Return how many names the upper layer has no entry for.

        :param lower_names: links of the file in the image
        """
        _path, status, marks = self._copies[number]
        return (marks.names(status.st_nlink, lower_names)
                - self._names[number])
