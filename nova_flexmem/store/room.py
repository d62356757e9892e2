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

"""Room in the base store: how much it takes, and how it is kept to a limit."""

import os
import stat

from oslo_log import log
from oslo_utils import units

from nova_flexmem import exception

LOG = log.getLogger(__name__)

#: Seconds that a base is left alone after it was built or given back: an
#: instance may be about to use it.
_GRACE_S = 60


def allocated_bytes(folder):
    """Return how much disk the files in a folder take."""
    total = 0
    for path, _folders, names in os.walk(folder):
        for name in names:
            try:
                status = os.lstat(os.path.join(path, name))
            except FileNotFoundError:
                continue  # removed meanwhile
            if stat.S_ISREG(status.st_mode):
                total += status.st_blocks * 512
    return total


def make_room(store, needed_bytes, limit_bytes):
    """Remove bases that nobody uses until the store can grow.

    Those out of use for longest go first. Nothing is removed if that would
    not be enough.

    :param store: a Store
    :param needed_bytes: by how much it shall grow
    :param limit_bytes: what it may take then; 0: no limit
    :returns: the keys of the bases that were removed
    :raises: StoreUnusable if there is not enough to remove
    """
    if not limit_bytes:
        return []
    wanted_bytes = store.size_bytes() + needed_bytes
    surplus = wanted_bytes - limit_bytes
    if surplus <= 0:
        return []
    ages_s = store.unused_s()
    unused = sorted((key for key, age_s in ages_s.items()
                     if age_s >= _GRACE_S),
                    key=lambda key: ages_s[key], reverse=True)
    sizes = {key: allocated_bytes(os.path.join(store.folder('bases'), key))
             for key in unused}
    removed = []
    if sum(sizes.values()) >= surplus:
        for key in unused:
            if surplus <= 0:
                break
            try:
                store.remove(key)
            except exception.BaseInUse:
                continue  # since just now
            LOG.info('Removed base %s, out of use for %d s, to make room',
                     key, ages_s[key])
            removed.append(key)
            surplus -= sizes[key]
    if surplus > 0:
        raise exception.StoreUnusable(
            store=store.path,
            reason=f'it would take {wanted_bytes // units.Mi} MiB, its limit'
            f' is {limit_bytes // units.Mi} MiB, and bases that no instance'
            f' uses take only {sum(sizes.values()) // units.Mi} MiB;'
            ' raise [flexmem] max_store_size_gib, or delete instances')
    return removed
