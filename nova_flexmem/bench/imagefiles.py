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

"""Which files of an image the io benchmark reads: its largest ones.

What a guest has read once is no longer new to it, so each measurement of a
first access has its own files.
"""

import dataclasses

from oslo_utils import units

from nova_flexmem import exception

#: Lists the files that come into question, the largest first.
LIST = r'''
export LC_ALL=C
find /usr -xdev -type f -size +128k -printf '%s %m %p\n' |
    sort -k 1,1nr -k 3
'''


@dataclasses.dataclass(frozen=True)
class Files:
    """What was chosen.

    :ivar sets: lists of paths, about as many bytes each
    :ivar changed: path of the file that is to be changed
    :ivar changed_bytes: its size
    """

    sets: tuple[tuple[str, ...], ...]
    changed: str
    changed_bytes: int


def choose(listing, count, size_bytes):
    """Return the Files.

    :param listing: what LIST printed
    :param count: how many sets
    :param size_bytes: what each must have at least
    :raises: BenchFailed if the image has too few large files
    """
    changed = None
    sets: list[list[str]] = [[] for _ in range(count)]
    sizes = [0] * count
    for line in listing.splitlines():
        size, mode, path = line.split(' ', 2)
        # fio has colons between names of files
        if not path.isprintable() or any(c in path for c in ":' \\"):
            continue
        # a program that runs cannot be changed
        if changed is None and not int(mode, 8) & 0o111:
            changed = path, int(size)
            continue
        least = sizes.index(min(sizes))
        sets[least].append(path)
        sizes[least] += int(size)
        if min(sizes) >= size_bytes and changed:
            return Files(tuple(map(tuple, sets)), *changed)
    raise exception.BenchFailed(
        reason=f'the image has not {count} times'
        f' {size_bytes // units.Mi} MiB in large files; give a smaller'
        ' --set-mib')
