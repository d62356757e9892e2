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

"""A folder of this host in the place of an image's tree."""

import os

from nova_flexmem.image import modules


class FolderTree:
    """Reads the files below a folder, as operating_system.Tree an image's.

    :param path: of the folder, / for this host's own system
    """

    def __init__(self, path):
        self._path = path

    def names(self, path):
        """Return the names in a folder, none if it is not there."""
        folder = self._below(path)
        return os.listdir(folder) if os.path.isdir(folder) else []

    def is_file(self, path):
        """Return whether there is a file that this user may read."""
        # on Ubuntu only root can read kernels
        return (os.path.isfile(self._below(path)) and
                os.access(self._below(path), os.R_OK))

    def read(self, path, max_bytes):
        """Return the beginning of a file, None if it cannot be read."""
        if not self.is_file(path):
            return None
        with open(self._below(path), 'rb') as f:
            return f.read(max_bytes)

    def decompressed(self, paths, max_bytes, max_all_bytes):
        """Return what compressed files hold, by path.

        The parameters and the returned value are those of
        decompression.read(). The host's own modules need no appliance.
        """
        found: dict[str, bytes | str] = {}
        for path in paths:
            content = self.read(path, max_bytes)
            try:
                found[path] = ('not there' if content is None
                               else modules.decompress(path, content))
            except ValueError as e:
                found[path] = str(e)
            max_all_bytes -= len(found[path])
            if max_all_bytes < 0:
                del found[path]
                break
        return found

    def read_text(self, path, max_bytes=1 << 20):
        """Return the beginning of a file as text, '' if there is none."""
        return (self.read(path, max_bytes) or b'').decode(errors='replace')

    def _below(self, path):
        return os.path.join(self._path, path.lstrip('/'))
