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

"""Who uses the bases of a store: by record, or by mapping them right now."""

import os

from nova_flexmem.store import basefiles
from nova_flexmem.store import locks
from nova_flexmem.store import uses
from nova_flexmem.store import verified


class UsedBases(verified.VerifiedBases):
    """A base store that knows who uses its bases."""

    def __init__(self, path, *, read_only=False):
        super().__init__(path, read_only=read_only)
        self._uses = uses.Uses(self.folder('uses'), read_only=read_only)

    def use(self, key, user):
        """Record that somebody (an instance's uuid) uses a base.

        :returns: the Base, verified
        :raises: BaseNotFound, BaseDamaged, StoreUnusable
        """
        with self.lock(locks.BASE, key):
            base = self.ensure_verified(key)
            with self.reporting():
                self._uses.add(key, user)
        return base

    def release(self, key, user):
        """Take the record of use() back; it is no error if there is none."""
        with self.reporting():
            self._uses.discard(key, user)

    def recorded_users(self, key):
        """Return who was recorded by use() as using a base, sorted."""
        with self.reporting():
            return self._uses.users(key)

    def users(self, key):
        """Return who uses a base; see users_of_all()."""
        return self._users([key])[key]

    def users_of_all(self):
        """Return {key: who uses the base}, by record or by mapping it now.

        The QEMU of a recorded instance is not named again.
        """
        return self._users(self.keys())

    def _users(self, keys):
        paths = {os.path.join(self._path(key), basefiles.ROOT_PMEM): key
                 for key in keys}
        users = {key: self.recorded_users(key) for key in keys}
        with self.reporting():
            for path, pids in uses.mapping(paths).items():
                recorded = users[paths[path]]
                users[paths[path]] = recorded + [
                    f'process {pid}' for pid in pids
                    if not uses.belongs_to(pid, recorded)]
        return users

    def unused_s(self):
        """Return {key: seconds that the base has been out of use}."""
        with self.reporting():
            return {key: 0.0 if users else self._uses.unused_s(key)
                    for key, users in self.users_of_all().items()}
