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

"""The folder of a base store: what is where, its locks and its bases."""

import contextlib
import os
import re
import uuid

from nova_flexmem import exception
from nova_flexmem import files
from nova_flexmem.store import basefiles
from nova_flexmem.store import diskerrors
from nova_flexmem.store import locks

_FOLDERS = ('bases', 'builds', 'boot', 'locks', 'uses', 'verified', 'names',
            'downloads', 'appliance', 'drivers', 'qmp')

#: What keys of bases look like.
KEY = re.compile(r'[0-9a-f]{32}')


class StoreFolder:
    """The folder of a base store; makes it if it is not there.

    :param read_only: only look at it; then it need not be there
    :raises: StoreUnusable, also for root where another user owns it: files
        created by root would block that user
    """

    def __init__(self, path, *, read_only=False):
        self.path = os.path.abspath(path)
        if not read_only:
            with self.reporting():
                self._make()
            locks.check(self.folder('locks'))

    def _make(self):
        os.makedirs(self.path, exist_ok=True)
        owner = os.stat(self.path).st_uid
        if os.geteuid() == 0 != owner:
            raise exception.StoreUnusable(
                store=self.path, reason=f'it is owned by user {owner}; files'
                ' created by root would block that user. Run this as that'
                ' user, or choose another store')
        for name in _FOLDERS:
            os.makedirs(os.path.join(self.path, name), exist_ok=True)

    def exists(self):
        """Return whether the store has been made."""
        return self._is_there(self.folder('bases'))

    def is_own(self):
        """Return whether a store that exists is this user's."""
        with self.reporting():
            return os.stat(self.path).st_uid == os.geteuid()

    def reporting(self):
        """Turn the operating system's errors into StoreUnusable."""
        return diskerrors.reporting(self.path)

    def folder(self, name):
        """Return the path of one of the store's folders."""
        return os.path.join(self.path, name)

    @contextlib.contextmanager
    def lock(self, kind, key, blocking=True):
        """Hold a lock; see locks.

        :raises: lockutils.AcquireLockFailedException if another holds it
            and blocking is false; StoreUnusable
        """
        with contextlib.ExitStack() as stack:
            with self.reporting():
                stack.enter_context(locks.hold(self.folder('locks'), kind,
                                               key, blocking))
            yield

    def get(self, key):
        """Return the Base of a key, or None.

        :raises: BaseDamaged if its manifest cannot be used; StoreUnusable
        """
        path = self._path(key)
        return basefiles.Base(path) if self._is_there(path) else None

    def require(self, key):
        """Return the Base of a key.

        :raises: BaseNotFound, BaseDamaged, StoreUnusable
        """
        base = self.get(key)
        if base is None:
            raise exception.BaseNotFound(key=key, store=self.path)
        return base

    def keys(self):
        """Return the keys of all published bases, sorted."""
        with self.reporting(), contextlib.suppress(FileNotFoundError):
            return sorted(name for name in os.listdir(self.folder('bases'))
                          if KEY.fullmatch(name))
        return []  # it has not been made yet

    @contextlib.contextmanager
    def build_folder(self, key):
        """Give a folder to build in; what is left in it at the end goes.

        The caller holds the lock BUILD of the key.
        """
        path = self._build_path(key)
        with self.reporting():
            os.mkdir(path, 0o700)
        try:
            yield path
        finally:
            files.discard(path)

    def _path(self, key):
        return os.path.join(self.folder('bases'), key)

    def _build_path(self, key):
        return os.path.join(self.folder('builds'),
                            f'{key}.{uuid.uuid4().hex[:8]}')

    def _is_there(self, path):
        # os.path.isdir() would take a disk that fails for a missing base
        with self.reporting():
            try:
                os.stat(path)
            except FileNotFoundError:
                return False
        return True
