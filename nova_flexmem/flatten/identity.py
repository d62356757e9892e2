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

"""Whether a delta lies on an image."""

from nova_flexmem import exception
from nova_flexmem.image import kernel
from nova_flexmem.store import basestore


def check_digest(image, sha256, wanted):
    """Refuse an image of another digest.

    :param image: its path, for messages
    :param wanted: the digest that it must have; None for any
    :raises: ImageRefused
    """
    if wanted not in (None, sha256):
        raise exception.ImageRefused(
            image=image, reason='it is not what the delta lies on: its SHA-256'
            f' is {sha256}, not {wanted}; give the image that the snapshot\'s'
            ' property flexmem_base_image names')


def check_below(store, image, sha256, delta, lower_uuid):
    """Refuse an image that a delta does not say to lie on.

    The overlay notes on the upper layer the uuid of the filesystem below it.
    In format 1 that uuid follows from the image's digest. For other formats
    the store must have the base.

    :param image: path, for messages; so is delta
    :param sha256: digest of the image
    :param lower_uuid: what the overlay noted
    :raises: ImageRefused
    """
    if lower_uuid in {basestore.format_1_uuid(sha256, rootfs)
                      for rootfs in (kernel.EROFS, kernel.EXT4)}:
        return
    if any((base.manifest.uuid, base.manifest.image_sha256)
           == (lower_uuid, sha256) for base in store.usable()):
        return
    raise exception.ImageRefused(
        image=image, reason=f'{delta} does not say that it lies on this image'
        f' (it lies on base {lower_uuid}); if you know that it does, give'
        ' --image-sha256, as in the snapshot\'s property flexmem_base_sha256')
