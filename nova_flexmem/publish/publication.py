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

"""What stands in Glance about a published base, or about one that is built.

Everything is in properties of the image, the manifest too: whoever takes a
base can refuse it before the download. All names begin with
``flexmem_published``, so that nothing is mistaken for a property of a layered
snapshot.
"""

import dataclasses
import hashlib

from nova_flexmem.publish import glance
from nova_flexmem.store import basefiles
from nova_flexmem.store import storefolder

#: What the base is wanted for, a digest, and the Glance image that it is of.
NEED = 'flexmem_published_need'
IMAGE = 'flexmem_published_image'
IMAGE_HASH = 'flexmem_published_image_hash'

#: Of a claim; see claims.
HOST = 'flexmem_published_by'
TICKET = 'flexmem_published_ticket'
BEAT = 'flexmem_published_beat'

#: Of a base that is there.
KEY = 'flexmem_published_key'
LAYOUT = 'flexmem_published_layout'
MANIFEST = 'flexmem_published_manifest'


@dataclasses.dataclass(frozen=True)
class Need:
    """What a base is wanted for.

    :ivar image_id: of the Glance image
    :ivar image_hash: Glance's digest of its data; None if Glance no longer
        has the image
    :ivar rootfs: the setting of [flexmem] rootfs to build it with
    :ivar scope: who shares the base
    """

    image_id: str
    image_hash: str | None
    rootfs: str
    scope: str

    @property
    def name(self):
        """What stands for the need in Glance.

        Versions of this package that make bases in another format publish
        their own.
        """
        return hashlib.sha256('\0'.join((
            str(basefiles.FORMAT), self.image_id, self.rootfs, self.scope,
        )).encode()).hexdigest()[:32]

    def properties(self, host):
        """Return the properties of a claim of a host."""
        return {NEED: self.name, IMAGE: self.image_id,
                IMAGE_HASH: self.image_hash or 'unknown', HOST: host}

    def is_met_by(self, image):
        """Return whether an image that has the name is of the very image."""
        return self.image_hash is None or (
            image.properties.get(IMAGE_HASH) == self.image_hash)


def is_published(image):
    """Return whether an Image holds a base."""
    return image.status == glance.ACTIVE and MANIFEST in image.properties


def is_key(text):
    """Return whether a text can be the key of a base."""
    return storefolder.KEY.fullmatch(text) is not None


def is_claim(image):
    """Return whether an Image stands for a base that is being built."""
    return image.status in (glance.QUEUED, glance.SAVING)


def of_base(manifest, text):
    """Return the properties of a base, set before its data are uploaded.

    :param manifest: the basefiles.Manifest
    :param text: manifest.json
    """
    return {KEY: manifest.key, MANIFEST: text,
            LAYOUT: manifest.files[basefiles.ROOT_PMEM].sha256}
