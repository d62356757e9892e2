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

"""Counts the instances of each image on this host, for the scheduler."""

import collections
import os

from nova_flexmem import exception
from nova_flexmem.virt import record as record_module


def count(store, instances_path):
    """Return {(image id, scope): number of instances on its base}.

    Images of which the store has a base that no instance uses have 0. A base
    can have several images, if these are equal byte for byte.

    :param store: the basestore.Store
    :param instances_path: the folder of the instances' folders
    """
    names = collections.defaultdict(set)
    for name, key in store.names().items():
        names[key].add(name.partition('.')[0])
    counts: dict[tuple[str, str], int] = collections.Counter()
    for base in store.usable():
        users = store.recorded_users(base.key)
        images = names[base.key]
        for user in users:
            images |= _images(os.path.join(instances_path, user))
        for image_id in images:
            counts[image_id, base.manifest.scope] += len(users)
    return counts


def _images(folder):
    # a base that another host gave has no name here, but its user has a record
    try:
        record = record_module.read(folder)
    except exception.RecordUnusable:
        return set()
    return {record.image_id} if record else set()
