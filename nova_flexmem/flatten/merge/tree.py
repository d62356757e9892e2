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

"""Applies an upper layer to the tree that it lay on, in place.

What the guest saw as an overlay becomes one tree: what it removed goes, what
it renamed moves, what it wrote is copied. Paths are bytes.
"""

import os
import stat

from nova_flexmem.flatten.merge import files
from nova_flexmem.flatten.merge import links as links_module
from nova_flexmem.flatten.merge import stages as stages_module
from nova_flexmem.flatten.merge import upper as upper_module


class Merge:
    """A merge.

    :param upper: the upper layer
    :param target: the top of the image's tree
    :param mounts: files.Mounts of the target
    :param index: inode numbers of the files in the overlay's index
    :param kept: paths in the image that stay as they are
    :ivar written: files and folders written
    :ivar unclear: paths in the upper layer of hard links, see links
    """

    def __init__(self, upper, target, mounts, *, index=frozenset(),
                 kept=frozenset(), prefix=upper_module.PREFIX):
        self._upper = upper
        self._target = target
        self._mounts = mounts
        self._index = index
        self._kept = {os.path.join(target, path) for path in kept}
        self._prefix = prefix
        self._remover = files.Remover(mounts, self._kept)
        self._staged = {}  # folder in the upper layer: where its origin waits
        self._stages = stages_module.Stages(mounts)
        # by inode number in the upper layer: a link to the file of the image
        # that is to have its content, and its path in the target
        self._linked = {}
        self._seen = {}
        self._flags = []
        self.written = 0
        self.unclear = []

    @property
    def removed(self):
        """How many files and folders of the image were removed."""
        return self._remover.count

    def run(self):
        """Do it.

        :raises: Unmergeable; OSError, with the path
        """
        self._stage_renamed()
        if self._index:
            self._stage_links()
        self._merge_folder(self._upper, self._target)
        for path, flags in self._flags:
            files.set_flags(path, flags, True)
        self._stages.remove()

    def replace(self, source, path):
        """Replace a folder by a copy of another that is no upper layer.

        What the overlay would read something into means nothing there: a
        container engine's layers have whiteouts of their own. As in a guest,
        a folder behind a symbolic link stays what it is.
        """
        if not self._is_folder(path):
            return
        own = Merge(source, path, self._mounts, prefix='\0')
        self._remover.clear(path)
        own._merge_folder(source, path)
        self.written += own.written

    def _stage_renamed(self):
        renamed = upper_module.origins(self._upper, self._prefix)
        deepest_first = sorted(renamed, key=lambda path: renamed[path]
                               .count(b'/'), reverse=True)
        for number, path in enumerate(deepest_first):
            origin = os.path.join(self._target, renamed[path])
            if not self._is_folder(origin):
                continue  # the overlay would show nothing of it either
            self._refuse_mount_points(origin, 'moved')
            waiting = os.path.join(self._stages.at(origin), b'%d' % number)
            self._unprotect_around(origin)
            stages_module.move(origin, waiting)
            self._staged[path] = waiting

    def _stage_links(self):
        """Keep a link to each file that gets content by the index."""
        links = links_module.Links(self._index, self._prefix)
        self._note_links(links, self._upper, self._target)
        decided, self.unclear = links.resolve()
        for number, path in decided.items():
            kept = os.path.join(self._stages.at(path), b'link-%d' % number)
            files.unprotect(path, os.lstat(path))
            os.link(path, kept)
            self._linked[number] = kept

    def _note_links(self, links, folder, lower):
        for name, path, status in _entries(folder):
            below = os.path.join(lower, name) if lower else None
            if stat.S_ISDIR(status.st_mode):
                if path in self._staged:
                    below = self._staged[path]
                elif below and not self._is_folder(below):
                    # replaced; a symbolic link may lead out of the image
                    links.see(path, status, below)
                    below = None
                elif upper_module.marks(path, self._prefix).opaque:
                    if below:
                        links.hide(below)
                    below = None
                self._note_links(links, path, below)
            else:
                links.see(path, status, below)

    def _merge_folder(self, folder, target):
        files.unprotect(target, os.lstat(target))
        for name, path, status in _entries(folder):
            to = os.path.join(target, name)
            if to in self._kept:
                continue
            if self._is_whiteout(status):
                self._remover.remove(to)
            elif stat.S_ISDIR(status.st_mode):
                self._place_folder(path, to)
                self._merge_folder(path, to)
            else:
                self._place_file(path, status, to)
        self._finish(folder, target, os.lstat(folder),
                     keep=folder == self._upper)

    def _is_whiteout(self, status):
        return self._prefix != '\0' and files.is_whiteout(status)

    def _place_folder(self, path, to):
        """Have a folder at a path, with what shows through in it."""
        if path in self._staged:
            self._make_way(to)
            stages_module.move(self._staged[path], to)
        elif not self._is_folder(to):
            self._make_way(to)
            os.mkdir(to)
        elif upper_module.marks(path, self._prefix).opaque:
            self._remover.clear(to)

    def _place_file(self, path, status, to):
        kept = self._linked.pop(status.st_ino, None)
        if kept:  # the image's own file, once for all its names
            files.copy_content(path, kept)
            self._finish(path, kept, status)
            self._seen[status.st_ino] = kept
        self._make_way(to)
        linked = self._seen.get(status.st_ino)
        if linked and _link(linked, to):
            return
        try:
            files.make(to, path, status)
        except PermissionError:
            if not self._mounts.is_plain(to):
                raise
            raise files.Unmergeable(
                f'{self._shown(to)} is on a filesystem of the image that'
                ' cannot have such a file')
        self._finish(path, to, status)
        if status.st_nlink > 1:
            self._seen[status.st_ino] = to

    def _make_way(self, to):
        if files.status_of(to) is None:
            return
        self._refuse_mount_points(to, 'replaced')
        if not self._remover.remove(to):
            raise files.Unmergeable(
                f'the guest replaced {self._shown(to)}, which has to stay')

    def _refuse_mount_points(self, path, done):
        points = self._mounts.at_or_below(path)
        if points:
            raise files.Unmergeable(
                f'the guest {done} {self._shown(path)}, but the image mounts'
                f' a filesystem at {self._shown(points[0])}')

    def _finish(self, path, to, status, keep=False):
        marks = upper_module.marks(path, self._prefix)
        if marks.metadata_only:
            raise files.Unmergeable(
                f'{self._shown(to)} was written by a kernel with metacopy,'
                ' which keeps the content elsewhere')
        files.copy_metadata(path, to, status, marks.own, keep=keep,
                            plain=self._mounts.is_plain(to))
        if marks.flags:
            self._flags.append((to, marks.flags))
        self.written += 1

    def _is_folder(self, path):
        """Return whether a path of the target is one, by no symbolic link."""
        while path != self._target:
            status = files.status_of(path)
            if status is None or not stat.S_ISDIR(status.st_mode):
                return False
            path = os.path.dirname(path)
        return True

    def _unprotect_around(self, path):
        for around in (path, os.path.dirname(path)):
            files.unprotect(around, os.lstat(around))

    def _shown(self, path):
        return os.fsdecode(path.removeprefix(self._target))


def _entries(folder):
    """Return (name, path, status) of what is in a folder, sorted."""
    entries = []
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        entries.append((name, path, os.lstat(path)))
    return entries


def _link(existing, to):
    """Make a hard link; return whether the filesystem could."""
    try:
        os.link(existing, to, follow_symlinks=False)
    except OSError:  # another filesystem, or one without links
        return False
    return True
