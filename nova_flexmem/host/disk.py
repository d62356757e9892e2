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

"""What bases and deltas take of a host's disk.

Only sizes of files are looked at: what is in a delta is the tenant's.
"""

import dataclasses
import os

from nova_flexmem.store import room


@dataclasses.dataclass(frozen=True)
class DeltaDisk:
    """The delta of an instance.

    :ivar uuid: the instance's
    :ivar allocated_bytes: what its file takes of the disk; None where the
        instance has no such file on this host
    """

    uuid: str
    allocated_bytes: int | None


@dataclasses.dataclass(frozen=True)
class BaseDisk:
    """A base, and the deltas of the instances on it.

    :ivar allocated_bytes: what its files take, which all instances share
    """

    key: str
    allocated_bytes: int
    deltas: tuple[DeltaDisk, ...]


def measure(store, instances_path):
    """Return a BaseDisk for each base of a host, sorted by key.

    :param store: the base store
    :param instances_path: Nova's option of that name
    """
    users = store.users_of_all()
    found = []
    for key in store.keys():
        found.append(BaseDisk(
            key,
            room.allocated_bytes(os.path.join(store.folder('bases'), key)),
            tuple(DeltaDisk(uuid, _allocated(
                os.path.join(instances_path, uuid, 'disk')))
                for uuid in sorted(users.get(key, ())))))
    return found


def _allocated(path):
    try:
        return os.lstat(path).st_blocks * 512
    except (FileNotFoundError, NotADirectoryError):
        return None
