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

"""What the kernel's overlay wrote down in an upper layer.

See Documentation/filesystems/overlayfs.rst and fs/overlayfs/ in Linux. Paths
are bytes.
"""

import os
import re
import stat
import uuid

from nova_flexmem.flatten.merge import files

#: How the names begin of what the overlay notes on files.
PREFIX = 'trusted.overlay.'

#: Before the file handle in "origin": struct ovl_fb in fs/overlayfs/.
_ORIGIN_UUID = slice(5, 21)

#: "nlink": the difference to the number of names in upper layer or image.
_NAMES = re.compile(rb'([UL])([+-]\d{1,9})')


class Marks:
    """The extended attributes of a file in the upper layer, told apart.

    :param attributes: all of them, {name: value}
    :param prefix: see PREFIX
    :ivar own: what the guest sees of them
    """

    def __init__(self, attributes, prefix=PREFIX):
        self.own = {}
        self._marks = {}
        for name, value in attributes.items():
            mark = name.removeprefix(prefix)
            if mark == name:
                self.own[name] = value
            elif mark.startswith('overlay.'):  # of an overlay in the guest
                self.own[prefix + mark.removeprefix('overlay.')] = value
            else:
                self._marks[mark] = value

    @property
    def opaque(self):
        """Whether nothing of the image's folder shows through."""
        return self._marks.get('opaque') == b'y'

    @property
    def redirect(self):
        """Where the folder was that was renamed to this; b'' if it was not.

        A path of the image, or a name in the folder it is in.
        """
        return b'' if self.opaque else self._marks.get('redirect', b'')

    @property
    def metadata_only(self):
        """Whether the file's content is in the image, at another place."""
        return 'metacopy' in self._marks

    @property
    def flags(self):
        """The file's flags, as chattr(1) sets them."""
        letters = self._marks.get('protattr', b'')
        return ((files.IMMUTABLE if b'i' in letters else 0)
                | (files.APPEND_ONLY if b'a' in letters else 0))

    @property
    def lower_uuid(self):
        """The uuid of the filesystem that the file was copied up from."""
        handle = self._marks.get('origin', b'')[_ORIGIN_UUID]
        return str(uuid.UUID(bytes=handle)) if len(handle) == 16 else None

    def names(self, upper_names, lower_names):
        """Return how many names of a file the guest sees.

        :param upper_names: links to it in upper layer and index
        :param lower_names: links in the image
        :raises: Unmergeable
        """
        counted = self._marks.get('nlink', b'U+0')
        match = _NAMES.fullmatch(counted)
        if not match:
            raise files.Unmergeable(
                f'a file in it counts its names as {counted[:20]!r}')
        begin = upper_names if match[1] == b'U' else lower_names
        return begin + int(match[2])


def marks(path, prefix=PREFIX):
    """Return the Marks of a file in the upper layer."""
    return Marks(files.attributes(path), prefix)


def folders(top, prefix=PREFIX):
    """Yield (path, Marks) of the folders in an upper layer, from the top."""
    yield top, marks(top, prefix)
    for folder, names, _files in os.walk(top, onerror=_raise):
        for name in names:
            path = os.path.join(folder, name)
            if stat.S_ISDIR(os.lstat(path).st_mode):
                yield path, marks(path, prefix)


def origins(upper, prefix=PREFIX):
    """Return {folder in the upper layer: path} of those that were renamed.

    :returns: the paths are the image's, and begin without a slash
    :raises: Unmergeable
    """
    # what of the image shows through in a folder; None: nothing
    below: dict[bytes, bytes | None] = {}
    renamed: dict[bytes, bytes] = {}
    taken = set()
    for path, folder_marks in folders(upper, prefix):
        redirect = folder_marks.redirect
        parent = below.get(os.path.dirname(path)) if path != upper else b''
        if path == upper:
            below[path] = b''
            continue
        if redirect[:1] == b'/':
            origin = redirect[1:]
        elif folder_marks.opaque or parent is None:
            below[path] = None
            continue
        else:
            origin = os.path.join(parent, redirect or os.path.basename(path))
        below[path] = origin
        if redirect:
            if (not redirect.strip(b'/') or b'\0' in origin
                    or not {b'', b'.', b'..'}.isdisjoint(origin.split(b'/'))
                    or origin in taken):
                raise files.Unmergeable(
                    f'{os.fsdecode(path)} says that it was'
                    f' {os.fsdecode(redirect)!r}, which cannot be')
            renamed[path] = origin
            taken.add(origin)
    return renamed


def _raise(error):
    raise error
