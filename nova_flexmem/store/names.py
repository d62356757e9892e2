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

"""Names of bases: what others call the images that bases were built from.

A name is a file NAMES/NAME that holds a key. Nova names images by their Glance
id, and so knows without a download that the store has the base.
"""

import contextlib
import os
import re

from nova_flexmem.store import locks
from nova_flexmem.store import storefolder

_NAME = re.compile(r'[\w.-]{1,255}', re.ASCII)


def check(name):
    """Raise ValueError, with what to do, if a base can't have a name."""
    if not _NAME.fullmatch(name) or name in ('.', '..'):
        raise ValueError(f'{name!r} cannot name a base: give 1 to 255'
                         ' letters, digits, ".", "_" or "-"')


class Names:
    """The names in a folder."""

    def __init__(self, folder):
        self._folder = folder

    def get(self, name):
        """Return the key that a name stands for, or None.

        :raises: ValueError if there can be no such name
        """
        try:
            with open(self._path(name), encoding='ascii') as f:
                return f.read().strip() or None
        except (FileNotFoundError, UnicodeDecodeError):
            return None

    def set(self, name, key, folder):
        """Let a name stand for a key, and for no other from now on.

        :param folder: where the file is written first
        :raises: ValueError if there can be no such name
        """
        path = self._path(name)
        temporary = os.path.join(folder, 'name')
        with open(temporary, 'x', encoding='ascii') as f:
            f.write(f'{key}\n')
            f.flush()
            os.fsync(f.fileno())
        os.rename(temporary, path)

    def of(self, key):
        """Return the names of a key, sorted."""
        return sorted(name for name in os.listdir(self._folder)
                      if _NAME.fullmatch(name) and self.get(name) == key)

    def all(self):
        """Return {name: key} of all names."""
        keys = {name: self.get(name) for name in os.listdir(self._folder)
                if _NAME.fullmatch(name)}
        return {name: key for name, key in keys.items() if key}

    def drop(self, key):
        """Remove all names of a key."""
        for name in self.of(key):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path(name))

    def _path(self, name):
        check(name)
        return os.path.join(self._folder, name)


class NamedBases(storefolder.StoreFolder):
    """A base store whose bases have names."""

    def __init__(self, path, *, read_only=False):
        super().__init__(path, read_only=read_only)
        self._names = Names(self.folder('names'))

    def set_name(self, name, key):
        """Let a name stand for a base, and for no other from now on.

        :param name: 1 to 255 letters, digits, ".", "_" or "-", else
            ValueError is raised
        :raises: BaseNotFound, BaseDamaged, StoreUnusable
        """
        with self.lock(locks.BUILD, key), self.lock(locks.BASE, key):
            self.require(key)
            with self.reporting(), self.build_folder(key) as folder:
                self._names.set(name, key, folder)

    def key_named(self, name):
        """Return the key of the base that a name stands for, or None."""
        with self.reporting():
            key = self._names.get(name)
        return key if (key and storefolder.KEY.fullmatch(key)
                       and self._is_there(self._path(key))) else None

    def names(self):
        """Return {name: key}, also of names of bases that are gone."""
        with self.reporting():
            return self._names.all()

    def names_of(self, key):
        """Return the names of a base, sorted."""
        with self.reporting():
            return self._names.of(key)
