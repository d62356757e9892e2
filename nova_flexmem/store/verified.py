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

"""Which bases are known to be whole.

A record VERIFIED/KEY holds the state in which every byte of a base was read
and found right: the host's boot, and what tells of changes to its files.
"""

import contextlib
import json
import os

from nova_flexmem import exception
from nova_flexmem import hostboot
from nova_flexmem.store import storefolder


class Verified:
    """The records in a folder."""

    def __init__(self, folder):
        self._folder = folder

    def holds(self, base):
        """Return whether a base is known to be whole.

        :param base: the Base
        :raises: BaseDamaged if a file is missing or has another size
        """
        return self._recorded(base.key) == _state(base)

    def verify(self, base):
        """Read every byte of a base, and record that it is whole.

        :raises: BaseDamaged; OSError if the record can't be written
        """
        state = _state(base)
        base.verify()
        # in its place at once: one that is torn says as little as none
        with open(os.path.join(self._folder, base.key), 'w') as f:
            f.write(json.dumps(state))

    def forget(self, key):
        """Drop the record of a base, if there is one."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._folder, key))

    def _recorded(self, key):
        try:
            with open(os.path.join(self._folder, key)) as f:
                return json.load(f)
        except (OSError, ValueError):
            return None  # never verified, or the record is torn


def _state(base):
    return [hostboot.boot_id(), base.states()]


class VerifiedBases(storefolder.StoreFolder):
    """A base store that knows which of its bases are whole."""

    def __init__(self, path, *, read_only=False):
        super().__init__(path, read_only=read_only)
        self._verified = Verified(self.folder('verified'))

    def is_verified(self, key):
        """Return whether a base is known to be whole.

        Its bytes were read since the host booted, and its files were not
        touched since.

        :raises: BaseNotFound, BaseDamaged
        """
        return self._verified.holds(self.require(key))

    def ensure_verified(self, key):
        """Return a base that a guest may start from.

        Its bytes are read unless it is known to be whole.

        :raises: BaseNotFound, BaseDamaged
        """
        base = self.require(key)
        if not self._verified.holds(base):
            with self.reporting():
                self._verified.verify(base)
        return base

    def verify(self, key, progress=None):
        """Read every byte of a base again, whatever is known about it.

        A damaged base is not known to be whole any more, so that no guest
        starts from it.

        :param progress: called with the fraction done, 0 to 1
        :raises: BaseNotFound, BaseDamaged
        """
        try:
            self.require(key).verify(progress)
        except exception.BaseDamaged as e:
            try:
                self._verified.forget(key)
            except OSError as error:  # in another's store, for example
                raise exception.BaseDamaged(**e.kwargs | {
                    'reason': f'{e.kwargs["reason"]}, and instances may start'
                    ' from it until the host boots, as'
                    f' {error.filename} cannot be removed'
                    f' ({error.strerror})'})
            raise

    def is_whole(self, key):
        """Return whether a guest may start from a base; may read it."""
        try:
            self.ensure_verified(key)
        except (exception.BaseNotFound, exception.BaseDamaged):
            return False
        return True
