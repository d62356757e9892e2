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

"""Brings an instance's changes into its image, in libguestfs's appliance.

This folder goes into the appliance as a zip file and runs there on Python
alone, so nothing in it may import anything else of nova_flexmem::

    python3 -m nova_flexmem.flatten.merge survey|merge DELTA TARGET PATH...

DELTA is where the delta is mounted, TARGET the image's tree; the PATHs lie
directly on the delta (see the guest's /init). It prints an object of JSON:
what it found and did, or under "refused" why it can't, or under "full" the
mount point of a filesystem without room.
"""

import errno
import json
import os
import re
import stat
import sys

from nova_flexmem.flatten.merge import files
from nova_flexmem.flatten.merge import tree
from nova_flexmem.flatten.merge import upper as upper_module

#: GRUB's programs have to fit what is in the image's boot sector, which a
#: guest could not write; it never ran those that it has.
_KEPT = (b'boot/grub/i386-pc', b'boot/grub2/i386-pc')

#: What /init notes, and how much of it counts.
_PATH = re.compile(rb'(/[A-Za-z0-9._+@:=%-]+)+')
_LIST_BYTES = 1 << 16

#: Paths nest no deeper: PATH_MAX is 4096.
_RECURSION_LIMIT = 10000


def survey(delta, _target, paths):
    """Say what is on a delta."""
    upper = os.path.join(delta, b'upper')
    if not _is_folder(upper):
        raise files.Unmergeable(
            'no upper layer in it; it is not the delta of an instance that'
            ' was ever started')
    direct = direct_folders(os.path.join(delta, b'direct'),
                            [*paths, *noted_folders(delta)])
    return {'lower_uuid': upper_module.marks(upper).lower_uuid,
            'size_bytes': sum(_size_bytes(top)
                              for top in (upper, *direct.values()))}


def merge(delta, target, paths):
    """Bring what is on a delta into a tree; say how much it was."""
    mounts = files.Mounts.below(target)
    merging = tree.Merge(
        os.path.join(delta, b'upper'), target, mounts, kept=_KEPT,
        index=_inodes(os.path.join(delta, b'work')))
    merging.run()
    for path, folder in direct_folders(
            os.path.join(delta, b'direct'),
            [*paths, *noted_folders(delta)]).items():
        merging.replace(folder, target + path)
    os.sync()
    return {'written': merging.written, 'removed': merging.removed,
            'unclear': [os.fsdecode(path.removeprefix(
                os.path.join(delta, b'upper')))
                for path in merging.unclear]}


def noted_folders(delta):
    """Return the folders that the guest itself has directly on a delta.

    Its /init notes them, a path in each line.
    """
    try:
        number = os.open(os.path.join(delta, b'direct.list'),
                         os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return []
    with open(number, 'rb') as f:
        lines = f.read(_LIST_BYTES).split(b'\n')[:-1]
    return [line for line in lines if _PATH.fullmatch(line)
            and os.path.normpath(line) == line]


def direct_folders(direct, paths):
    """Return {path in the guest: its folder on the delta}.

    :param direct: the folder of all that lies directly on the delta
    :param paths: which they may be
    :raises: Unmergeable if there are others
    """
    mounts = {}

    def descend(folder, path):
        for name in sorted(os.listdir(folder)):
            below, inside = os.path.join(folder, name), path + b'/' + name
            if not _is_folder(below):
                pass
            elif inside in paths:
                mounts[inside] = below
                continue
            elif inside.endswith(b'.new') and inside[:-4] in paths:
                continue  # a copy that a power cut ended
            elif any(other.startswith(inside + b'/') for other in paths):
                descend(below, inside)
                continue
            raise files.Unmergeable(
                f'{os.fsdecode(inside)} lies directly on it; name the folder'
                ' with --direct-paths, as the snapshot\'s property'
                ' flexmem_direct_paths does')

    if _is_folder(direct):
        descend(direct, b'')
    elif os.path.lexists(direct):
        raise files.Unmergeable('what lies directly on it is no folder')
    return mounts


def _is_folder(path):
    """Return whether a path is a folder, and no symbolic link to one.

    Those of the delta lead to folders of the appliance.
    """
    status = files.status_of(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def _inodes(work):
    """Return the inode numbers of the files in the overlay's index."""
    folder = os.path.join(work, b'index')
    if not _is_folder(work) or not _is_folder(folder):
        return frozenset()
    return frozenset(entry.inode() for entry in os.scandir(folder))


def _size_bytes(top):
    """Return the space that what is in a folder takes."""
    sizes = {}
    for folder, _names, names in os.walk(top):
        for status in (os.lstat(folder), *(
                os.lstat(os.path.join(folder, name)) for name in names)):
            sizes[status.st_ino] = status.st_blocks * 512
    return sum(sizes.values())


def _full(target, error):
    path = os.fsencode(error.filename2 or error.filename or target)
    if not path.startswith(target):
        path = target
    point = files.Mounts.below(target).of(path)
    return os.fsdecode(point.removeprefix(target) or b'/')


def main(command, delta, target, *paths):
    sys.setrecursionlimit(_RECURSION_LIMIT)
    delta, target = os.fsencode(delta), os.fsencode(target)
    commands = {'survey': survey, 'merge': merge}
    try:
        answer = commands[command](delta, target,
                                   [os.fsencode(path) for path in paths])
    except files.Unmergeable as e:
        answer = {'refused': str(e)}
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            answer = {'full': _full(target, e)}
        else:
            answer = {'refused': str(e)}
    print(json.dumps(answer))


if __name__ == '__main__':
    main(*sys.argv[1:])
