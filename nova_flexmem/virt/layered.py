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

"""Layered snapshots: the delta alone, and the name of what it lies on.

The properties that tie a snapshot to its image belong to the tenant, who can
set them to anything. So they open nothing that the tenant could not open
without them: the image must be visible in Glance to whoever boots it.
"""

import dataclasses
import re

from nova.compute import task_states
from nova.compute import vm_states
from nova import exception as nova_exception

from nova_flexmem import exception
from nova_flexmem.image import kernel
from nova_flexmem.virt import marks
from nova_flexmem.virt import policy

TRAIT = marks.TRAIT

#: Properties of a layered snapshot.
BASE_IMAGE = marks.BASE_IMAGE
BASE_SHA256 = 'flexmem_base_sha256'
BASE_KEY = 'flexmem_base_key'
LAYOUT = 'flexmem_layout'
DIRECT_PATHS = 'flexmem_direct_paths'
ROOTFS = 'flexmem_rootfs'

#: What Glance's ids look like. Nova takes anything with a slash in it for the
#: address of an image service, and would give that one the user's token.
_ID = re.compile(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', re.IGNORECASE)

SYSTEM_KEY = marks.SYSTEM_KEY

#: What keys of bases and layouts look like.
_KEY = re.compile(r'[0-9a-f]{32}')
_LAYOUT = re.compile(r'[0-9a-f]{64}')


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The base that a delta was made on.

    :ivar image_id: the Glance image that it was built from
    :ivar image_sha256: of that image's file
    :ivar rootfs: its root filesystem, on no other of which the delta boots;
        None where nothing says it
    :ivar base_key: its key; None where nothing says it
    :ivar layout: SHA-256 of its root.pmem; None where nothing says it, as in
        snapshots of versions that knew no layouts
    """

    image_id: str
    image_sha256: str
    rootfs: str | None
    base_key: str | None
    layout: str | None

    @classmethod
    def of(cls, record):
        """Return what the Record of an instance wants."""
        return cls(record.image_id, record.image_sha256, record.rootfs,
                   record.base_key, record.root_sha256)

    def under(self, key):
        """Return the same base, with another key."""
        return dataclasses.replace(self, base_key=key)

    def is_met_by(self, base, scope):
        """Return whether a base is the very layout, and may be shared.

        :param base: a basefiles.Base
        :param scope: that of whoever wants it; None where it need not be
            asked for, as the host itself recorded the base
        """
        return (self.layout == base.layout and
                self.image_sha256 == base.manifest.image_sha256 and
                scope in (None, base.manifest.scope))


@dataclasses.dataclass(frozen=True)
class Link:
    """What a layered snapshot lies on.

    :ivar wanted: the base that its delta was made on
    :ivar direct_paths: folders of the guest that lie directly on the delta
    :ivar visible: whether Glance still has the image; if not, the instance
        that is unshelved was made from it and may have its base
    """

    wanted: Wanted
    direct_paths: list[str]
    visible: bool


def is_restored(instance):
    """Return whether an instance is spawned with the disk that it had.

    Nova has it in a snapshot, and deletes that afterwards. So the instance
    stays what it was: a base of that snapshot would serve nobody else, and
    nothing could be layered on it.
    """
    return (instance.vm_state == vm_states.SHELVED_OFFLOADED or
            # across cells; other resizes spawn nothing
            instance.task_state == task_states.RESIZE_FINISH)


def properties(record):
    """Return the Glance properties of an instance's layered snapshot."""
    rootfs = {ROOTFS: record.rootfs} if record.rootfs else {}
    return {BASE_IMAGE: record.image_id, BASE_SHA256: record.image_sha256,
            BASE_KEY: record.base_key, LAYOUT: record.root_sha256,
            DIRECT_PATHS: ','.join(record.direct_paths), **rootfs,
            policy.IMAGE_POLICY: 'required', policy.IMAGE_WRITES: 'disk',
            f'trait:{TRAIT}': 'required'}


def check(context, image_api, record):
    """Check that an instance can be kept as a layered snapshot.

    :raises: InstanceRefused
    """
    if record.writes == 'memory':
        raise exception.InstanceRefused(
            reason='it writes to memory alone, and has no disk that a snapshot'
            ' could be taken of')
    if not _visible(context, image_api, record.image_id):
        raise exception.InstanceRefused(
            reason=f'image {record.image_id}, which it was made from, is gone'
            ' from Glance, so that nothing could boot from a snapshot of it;'
            ' copy the data out of the instance')


def link(context, image_api, instance, image_meta):
    """Return the Link of an image, or None if it is no layered snapshot.

    :raises: ImageRefused if whoever boots it can't see what it lies on, or
        a property is none that a snapshot has
    """
    if not image_meta.obj_attr_is_set('id'):
        return None  # the properties are those of a volume's image
    # an instance that is unshelved has the metadata of its first image
    if (f'image_{BASE_IMAGE}' not in instance.system_metadata and
            TRAIT not in image_meta.properties.get('traits_required', [])):
        return None
    found = image_api.get(context, image_meta.id)['properties']
    if BASE_IMAGE not in found:
        return None
    image_id = found[BASE_IMAGE]
    if not _ID.fullmatch(image_id):
        raise exception.ImageRefused(
            image=f'image {image_meta.id}', reason=f'its property {BASE_IMAGE}'
            f' is {image_id!r}, no Glance id; correct or remove the property')
    rootfs = found.get(ROOTFS)
    if rootfs not in (None, kernel.EROFS, kernel.EXT4):
        raise exception.ImageRefused(
            image=f'image {image_meta.id}', reason=f'its property {ROOTFS} is'
            f' {rootfs!r}; correct it to {kernel.EROFS} or {kernel.EXT4}')
    visible = _visible(context, image_api, image_id)
    # for one that is evacuated it is an administrator who asks, who sees all
    tenants_own = context.project_id == instance.project_id
    was_made_from_it = instance.system_metadata.get(SYSTEM_KEY) == image_id
    if not (visible and (tenants_own or was_made_from_it) or
            was_made_from_it and
            instance.vm_state == vm_states.SHELVED_OFFLOADED):
        raise exception.ImageRefused(
            image=f'image {image_meta.id}', reason=f'it is a layered snapshot'
            f' on image {image_id}, which does not exist or is not yours')
    layout, key = found.get(LAYOUT, ''), found.get(BASE_KEY, '')
    known = _LAYOUT.fullmatch(layout) and _KEY.fullmatch(key)
    return Link(
        Wanted(image_id, found.get(BASE_SHA256, ''), rootfs,
               key if known else None, layout if known else None),
        [path for path in found.get(DIRECT_PATHS, '').split(',') if path],
        visible)


def _visible(context, image_api, image_id):
    try:
        return image_api.get(context, image_id)['status'] == 'active'
    except (nova_exception.ImageNotFound, nova_exception.ImageNotAuthorized):
        return False
