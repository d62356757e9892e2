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

"""Gives a base of format 1 a uuid that follows from its content.

The uuid of such a base follows from the image, so that a delta of unknown
layout may take it for its own base. Its copy under another uuid is a base like
any other, got without the image.
"""

import dataclasses
import os
import shutil

from nova_flexmem.build import rootfs
from nova_flexmem.build import rootpmem
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore
from nova_flexmem.store import locks
from nova_flexmem.store import room


def can_renew(base):
    """Return whether renew() can do it.

    The checksums of an ext4 filesystem of format 1 depend on its uuid.
    """
    return base.manifest.format == 1 and base.manifest.rootfs == 'erofs'


def renew(store, base, max_store_size_bytes=0):
    """Publish the copy of a base that has a uuid of its own.

    :param base: a Base for which can_renew() is true
    :param max_store_size_bytes: 0: no limit
    :returns: the copy's key
    :raises: BaseDamaged, StoreUnusable
    """
    with store.lock(locks.BUILD, base.key), \
            store.build_folder(base.key) as build_folder, store.reporting():
        store.ensure_verified(base.key)
        folder = os.path.join(build_folder, 'base')
        os.mkdir(folder)
        for name in basefiles.FILES:
            shutil.copyfile(base.file(name), os.path.join(folder, name))
        root_pmem = rootpmem.finish(
            os.path.join(folder, basefiles.ROOT_PMEM),
            rootfs.load(base.manifest.rootfs), lambda part: None)
        key = basestore.key_of(root_pmem.file.sha256,
                               base.manifest.image_sha256, base.manifest.scope)
        dataclasses.replace(
            base.manifest, format=basefiles.FORMAT, key=key,
            uuid=root_pmem.uuid, files=base.manifest.files | {
                basefiles.ROOT_PMEM: root_pmem.file},
        ).write(os.path.join(folder, basefiles.MANIFEST))
        room.make_room(store, 0, max_store_size_bytes)  # the copy counts
        store.publish(folder, key)
    return key
