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

"""What Glance says of an image decides whether it is downloaded at all.

The build looks at the file itself again: nothing here is believed that would
let an image in.
"""

import os

from oslo_utils import units

from nova_flexmem import exception
from nova_flexmem.store import room

#: What images can be a base, by Glance's disk_format.
DISK_FORMATS = ('raw', 'qcow2')

#: A qcow2 file can be larger than its disk, by its tables and snapshots. It is
#: refused unread if that is more than such a part of the limit.
_QCOW2_SURPLUS = 1 / 8


def check(image, label, group):
    """Refuse an image that cannot become a base.

    :param image: what Nova's image API says of it
    :param label: how a refusal names it
    :param group: the [flexmem] options
    :raises: ImageRefused
    """
    disk_format = image.get('disk_format')
    if disk_format not in DISK_FORMATS:
        raise exception.ImageRefused(
            image=label, reason=f'its disk_format is {disk_format}; FlexMem'
            f' can use {" and ".join(DISK_FORMATS)}')
    limit_bytes = group.max_virtual_size_gib * units.Gi
    limit = (f'above the limit of {group.max_virtual_size_gib} GiB; raise'
             ' [flexmem] max_virtual_size_gib to build it')
    virtual_bytes = image.get('virtual_size') or 0
    if virtual_bytes > limit_bytes:
        raise exception.ImageRefused(
            image=label, reason=f'its virtual size of'
            f' {virtual_bytes / units.Gi:.1f} GiB is {limit}')
    size_bytes = image.get('size') or 0
    if disk_format == 'qcow2':
        limit_bytes += limit_bytes * _QCOW2_SURPLUS
    if size_bytes > limit_bytes:
        raise exception.ImageRefused(
            image=label, reason=f'its size of {size_bytes / units.Gi:.1f} GiB'
            f' is {limit}')


def make_room(store, image, group):
    """Keep the store to its limit with the base of an image.

    The build asks for the same once it has the file. A raw image may have
    holes, so only the build knows what it takes.

    :param store: a Store
    :raises: StoreUnusable
    """
    if image.get('disk_format') == 'qcow2':
        room.make_room(store, image.get('size') or 0,
                       group.max_store_size_gib * units.Gi)


def check_free(folder, size_bytes):
    """Refuse a download that the disk has no room for.

    :param folder: where the file shall be
    :param size_bytes: None if Glance does not say
    :raises: StoreUnusable
    """
    found = os.statvfs(folder)
    free_bytes = found.f_bavail * found.f_frsize
    if size_bytes and size_bytes > free_bytes:
        raise exception.StoreUnusable(
            store=folder, reason=f'the image to download takes'
            f' {size_bytes // units.Mi} MiB, and its disk has'
            f' {free_bytes // units.Mi} MiB left; free space in it, for'
            ' example with "nova-flexmem image prune"')
