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

"""A tree of files, what is done to it, and what each path must show then.

The model is kept on the host: the guest does the edits on the overlay, and
lists what it sees; the two are compared path by path.
"""

import copy
import dataclasses
import hashlib
import os
import random
import shlex

#: What a path shows is checked below here in the guest.
FOLDER = '/srv/tree'

FILES = 5200
EDITED = 500

_MTIME = 1700000000
_LETTERS = 'abcdefghijklmnopqrstuvwxyz0123456789'
_ODD = ('with space', 'dollar $HOME', 'ümläut', '.hidden', 'quote"', '雪',
        'n' * 120, 'semi;colon', '-dash', 'star*')


@dataclasses.dataclass(eq=False)
class Inode:
    """A file's content and mode; names with one Inode are hard links.

    :ivar lower: whether it is the base's still, nothing of it copied up
    :ivar linked: whether it has several names in the base
    :ivar original: its content in the base
    """

    content: bytes
    mode: int = 0o644
    lower: bool = True
    linked: bool = False
    original: bytes | None = None


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a path shows.

    :ivar kind: file, folder or link
    :ivar content: a file's SHA-256, a link's target
    :ivar names: all paths that are the same file
    """

    kind: str
    content: str = ''
    mode: int = 0
    names: frozenset[str] = frozenset()


class Tree:
    """The model; paths are relative to FOLDER.

    :param index: whether the overlay keeps the base's hard links together
        when it copies one of them up
    """

    def __init__(self, seed=0, index=False):
        self.index = index
        self.folders = []
        self.files = {}
        self.links = {}
        self._random = random.Random(seed)
        self._script = []
        self._grow()

    def write(self, root):
        """Write the tree as it is now to a folder that is empty."""
        for path in self.folders:
            os.makedirs(os.path.join(root, path), exist_ok=True)
        written = {}
        for path, inode in self.files.items():
            target = os.path.join(root, path)
            if inode in written:
                os.link(written[inode], target)
                continue
            with open(target, 'xb') as f:
                f.write(inode.content)
            os.chmod(target, inode.mode)
            os.utime(target, (_MTIME, _MTIME))
            written[inode] = target
        for path, target in self.links.items():
            os.symlink(target, os.path.join(root, path))
        for folder, _folders, _files in os.walk(root, topdown=False):
            os.utime(folder, (_MTIME, _MTIME))

    def shows(self):
        """Return {path: Seen} of all that is in it."""
        names = {}
        for path, inode in self.files.items():
            names.setdefault(inode, set()).add(path)
        found = {path: Seen('folder') for path in self.folders}
        found |= {path: Seen('link', target)
                  for path, target in self.links.items()}
        found |= {path: Seen('file', digest(inode.content), inode.mode,
                             frozenset(names[inode]))
                  for path, inode in self.files.items()}
        return found

    def copy(self):
        """Return a Tree of its own that is as this one is now."""
        return copy.deepcopy(self)

    def script(self):
        """Return the shell script of the edits since the last call."""
        lines, self._script = self._script, []
        return ''.join(f'{line}\n' for line in [
            f'cd {FOLDER} || exit', *lines, 'cd /'])

    def edit(self, files=EDITED):
        """Do to it what an instance does in years, or parts of that."""
        groups = [path for path in self._sample(len(self.files))
                  if len(self._names(path)) > 1]
        # hard links through one name, some of them through all
        for path in groups[:40]:
            self._append(path)
        for path in groups[40:50]:
            for name in self._names(path):
                self._append(name)
        for path in groups[50:60]:
            self._remove(path)
        for path in groups[60:70]:
            if path in self.files:
                self._rename(path, f'{path}.renamed')
        for edit, number in ((self._append, files - 200),
                             (self._rewrite, 80), (self._overwrite, 60),
                             (self._set_mode, 60)):
            for path in self._sample(number):
                edit(path)
        for path in self._sample(60):
            self._rename(path, f'{path}.renamed')
        for path in self._sample(150):
            self._remove(path)
        for number in range(40):
            self._create(f'{self._random.choice(self.folders)}/'
                         f'new {self._name(number)}')
        for path in self._sample(20):
            self._link(path, f'{path}.second')
        self._edit_folders()

    # What the guest does, and the model with it

    def _append(self, path):
        text = self._text()
        self._copied_up(path).content += f'{text}\n'.encode()
        self._do(f'echo {text} >> {_quoted(path)}')

    def _rewrite(self, path):
        text = self._text()
        self._copied_up(path).content = f'{text}\n'.encode()
        self._do(f'echo {text} > {_quoted(path)}')

    def _overwrite(self, path):
        inode = self._copied_up(path)
        text = self._text()
        start = self._random.randrange(len(inode.content) + 1)
        inode.content = (inode.content[:start] + text.encode()
                         + inode.content[start + len(text):])
        self._do(f'printf {text} | dd of={_quoted(path)} bs=1 seek={start}'
                 ' conv=notrunc 2> /dev/null')

    def _set_mode(self, path):
        self._copied_up(path).mode = mode = self._random.choice(
            (0o600, 0o640, 0o755))
        self._do(f'chmod {mode:o} {_quoted(path)}')

    def _rename(self, path, target):
        self._copied_up(path)
        self.files[target] = self.files.pop(path)
        self._do(f'mv {_quoted(path)} {_quoted(target)}')

    def _remove(self, path):
        del self.files[path]
        self._do(f'rm {_quoted(path)}')

    def _create(self, path):
        text = self._text()
        self.files[path] = Inode(f'{text}\n'.encode(), lower=False)
        self._do(f'echo {text} > {_quoted(path)}')

    def _link(self, path, target):
        self.files[target] = self._copied_up(path)
        self._do(f'ln {_quoted(path)} {_quoted(target)}')

    def _edit_folders(self):
        self._random.shuffle(self.folders)
        deepest = [path for path in self.folders if path.count('/') == 2]
        for path in deepest[:15]:
            self._rename_folder(path, f'{path}.renamed')
        for path in deepest[15:20]:
            self._remove_folder(path)
        for path in deepest[20:25]:  # what was there must not shine through
            self._remove_folder(path)
            self.folders.append(path)
            self._do(f'mkdir {_quoted(path)}')
            self._create(f'{path}/again')
        middle = [path for path in self.folders if path.count('/') == 1]
        for path in middle[:5]:
            self._rename_folder(path, f'{path}.moved')
        for path in [*self.links][:20]:
            del self.links[path]
            self._do(f'rm {_quoted(path)}')
            self._create(path)

    def _rename_folder(self, path, target):
        self.folders = [_moved(name, path, target) for name in self.folders]
        for names in self.files, self.links:
            moved = {_moved(name, path, target): value
                     for name, value in names.items()}
            names.clear()
            names.update(moved)
        self._do(f'mv {_quoted(path)} {_quoted(target)}')

    def _remove_folder(self, path):
        self.folders = [name for name in self.folders
                        if not _is_in(name, path)]
        for names in self.files, self.links:
            for name in [*names]:
                if _is_in(name, path):
                    del names[name]
        self._do(f'rm -r {_quoted(path)}')

    def _do(self, line):
        self._script.append(line)

    def _copied_up(self, path):
        """Return the inode of a path that is changed through it."""
        inode = self.files[path]
        if inode.lower:
            if not self.index:
                inode = self.files[path] = dataclasses.replace(inode)
            inode.lower = False
        return inode

    def _names(self, path):
        return [name for name, inode in self.files.items()
                if inode is self.files[path]]

    def _sample(self, number):
        return self._random.sample(sorted(self.files), number)

    def _text(self):
        return ''.join(self._random.choices(_LETTERS, k=24))

    # The tree as the image has it

    def _grow(self):
        for top in range(6):
            self.folders.append(f'top{top}')
            for number in range(6):
                middle = f'top{top}/{self._name(number)}'
                self.folders += [middle, *(f'{middle}/{self._name(leaf)}'
                                           for leaf in range(6))]
        while len(self.files) < FILES:
            path = self._new_path(len(self.files))
            inode = Inode(self._random.randbytes(self._size()),
                          self._random.choice((0o644, 0o755, 0o600)))
            inode.original = inode.content
            self.files[path] = inode
            if self._random.random() < 0.02:
                inode.linked = True
                for _name in range(self._random.choice((1, 1, 2))):
                    self.files[self._new_path(len(self.files))] = inode
        for number in range(200):
            path = f'{self._random.choice(self.folders)}/link{number}'
            self.links[path] = self._random.choice(
                ('../nowhere', *self._sample(1)))

    def _name(self, number):
        return f'{self._text()[:self._random.randrange(3, 16)]}{number}'

    def _new_path(self, number):
        name = self._name(number)
        if self._random.random() < 0.05:
            name = f'{self._random.choice(_ODD)}{name}'
        return f'{self._random.choice(self.folders)}/{name}'

    def _size(self):
        return self._random.choice(
            (0, self._random.randrange(200), self._random.randrange(4096),
             self._random.randrange(4096), 4096,
             self._random.randrange(20000)))


def digest(content):
    """Return what Seen has of a file's content."""
    return hashlib.sha256(content).hexdigest()


def wrong(expected, found):
    """Return the paths that do not show what they must, sorted."""
    return sorted(path for path in expected | found
                  if expected.get(path) != found.get(path))


def _moved(name, path, target):
    return target + name[len(path):] if _is_in(name, path) else name


def _is_in(name, path):
    return name == path or name.startswith(f'{path}/')


def _quoted(path):
    return shlex.quote(f'./{path}')
