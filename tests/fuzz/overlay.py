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

"""Target: an upper layer, and the image's tree that it is merged into."""

import contextlib
import os
import stat
import tempfile
import urllib.parse

from nova_flexmem.flatten.merge import __main__ as merge_main
from nova_flexmem.flatten.merge import files
from nova_flexmem.flatten.merge import tree
from nova_flexmem.flatten.merge import upper

_PREFIX = 'user.overlay.'
_MARKS = ('opaque', 'redirect', 'nlink', 'metacopy', 'origin')
_LAYERS = (b'upper', b'target', b'index', b'direct')


def upper_layer(data):
    """A line each: WHAT PATH MORE, with %XX for bytes.

    WHAT is file, folder, whiteout, symlink (to MORE), link (to MORE), or a
    mark of the overlay (with the value MORE).
    """
    with tempfile.TemporaryDirectory() as name:
        top = os.fsencode(name)
        for folder in (b'upper', b'target', b'index', b'outside'):
            os.mkdir(os.path.join(top, folder))
        with open(os.path.join(top, b'outside', b'file'), 'wb') as f:
            f.write(b'canary')
        os.link(os.path.join(top, b'outside', b'file'),
                os.path.join(top, b'outside', b'link'))
        for line in data.split(b'\n')[:50]:
            with contextlib.suppress(OSError, ValueError, TypeError):
                _make(top, *[urllib.parse.unquote_to_bytes(word)
                             for word in line.split(b' ')])
        before = _state(top)
        target = os.path.join(top, b'target')
        with contextlib.suppress(files.Unmergeable, OSError):
            merging = tree.Merge(
                os.path.join(top, b'upper'), target,
                files.Mounts({target: b'ext4'}), prefix=_PREFIX,
                index=merge_main._inodes(top))
            merging.run()
        assert _state(top) == before
        with contextlib.suppress(files.Unmergeable, OSError):
            found = merge_main.direct_folders(os.path.join(top, b'direct'),
                                              [b'/a', b'/b/c'])
            for folder in found.values():
                assert os.path.realpath(folder).startswith(
                    os.path.join(os.path.realpath(top), b'direct/')), folder
        for _path, marks in upper.folders(os.path.join(top, b'upper'),
                                          _PREFIX):
            marks.lower_uuid


def _make(top, what, path, more=b''):
    path = _path(top, path)
    if what == b'file':
        with open(path, 'wb') as f:
            f.write(more)
    elif what == b'folder':
        os.makedirs(path)
    elif what == b'whiteout':
        os.mknod(path, stat.S_IFCHR, 0)
    elif what == b'symlink':
        os.symlink(more.replace(b'TOP', top), path)
    elif what == b'link':
        os.link(_path(top, more), path, follow_symlinks=False)
    elif what.decode() in _MARKS:
        os.setxattr(path, _PREFIX + what.decode(), more,
                    follow_symlinks=False)


def _path(top, path):
    """Return a path in one of the layers, by no symbolic link."""
    names = [name for name in path.split(b'/') if name.strip(b'.')]
    if not names or names[0] not in _LAYERS or (
            len(names) == 1 and names[0] != b'direct'):
        raise ValueError('not in a layer')
    path = top
    for name in names[:-1]:
        path = os.path.join(path, name)
        if os.path.islink(path):
            raise ValueError('by a symbolic link')
    return os.path.join(path, names[-1])


def _state(top):
    """Return what must not change: all that is outside the target."""
    found = {}
    for layer in (b'outside', b'upper', b'index'):
        for folder, folders, names in os.walk(os.path.join(top, layer)):
            for name in (*folders, *names):
                path = os.path.join(folder, name)
                status = os.lstat(path)
                found[path] = (status.st_ino, status.st_mode, status.st_size,
                               status.st_mtime_ns, files.attributes(path))
    return found
