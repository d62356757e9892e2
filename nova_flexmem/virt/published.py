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

"""Bases that other hosts built, and those that this host builds for others."""

import contextlib
import dataclasses
import os
import threading
import time

from oslo_log import log
from oslo_utils import units

import nova.conf
from nova import exception as nova_exception

from nova_flexmem import exception
from nova_flexmem.publish import archive
from nova_flexmem.publish import claims
from nova_flexmem.publish import publication
from nova_flexmem.store import locks
from nova_flexmem.store import room
from nova_flexmem.virt import downloads
from nova_flexmem.virt import marks
from nova_flexmem.virt import uploads
from nova_flexmem.virt import worker

CONF = nova.conf.CONF
LOG = log.getLogger(__name__)

#: How often a base is asked for: again where what was there is damaged.
_TRIES = 2


class Published:
    """The published bases, as this host takes and makes them.

    :param store: returns the Store
    :param group: the [flexmem] options
    :param connect: returns a glance.Glance; may raise PublishFailed
    """

    def __init__(self, store, group, connect):
        self._store = store
        self._group = group
        self._connect = connect
        self._claims = None
        self._lock = threading.Lock()
        self._uploads = uploads.Uploads(group)

    @property
    def _glance(self):
        return self._of_glance().glance

    def _of_glance(self):
        with self._lock:
            if self._claims is None:
                self._claims = claims.Claims(self._connect(), CONF.host,
                                             self._group.build_timeout_s)
            return self._claims

    def obtain(self, need, owner, get_image, build):
        """Return the key of a base in the store, taken or built.

        :param need: the publication.Need, as yet without the image's digest;
            the caller has a lock on it
        :param owner: the instance, or who else needs the base
        :param get_image: returns what Glance has of the image
        :param build: builds the base and returns it
        :raises: ImageNotFound if the image is gone, and so is its base; what
            build() raises
        """
        try:
            image = get_image()
        except nova_exception.ImageNotFound:
            # nobody else may have it: it may not be gone, but hidden
            key = (self._take(need) if marks.is_made_from(
                owner, need.image_id) else None)
            if key is None:
                raise
            return key
        digest = image.get('os_hash_value') or image.get('checksum')
        return self._take_or_build(
            dataclasses.replace(need, image_hash=digest or 'none'), build)

    def _take_or_build(self, need, build):
        with contextlib.ExitStack() as stack:
            claim = None
            try:
                key, claim = self._key_or_claim(need)
                if key:
                    return key
            except exception.FlexMemException as e:
                LOG.warning('The base of image %(image)s is built here and not'
                            ' published: %(e)s',
                            {'image': need.image_id, 'e': e})
            if claim:
                stack.enter_context(claim)
            base = build()
            if claim:
                # the instance does not wait for the upload
                self._uploads.start(self._store(), claim, base,
                                    stack.pop_all())
            return base.key

    def _key_or_claim(self, need):
        for _try in range(_TRIES):
            images, claim = self._of_glance().turn(
                need, self._group.build_timeout_s)
            if claim:
                return None, claim
            key = self._take_one(images, need.image_id, _meets(need))
            if key:
                return key, None
        raise exception.PublishFailed(
            reason=f'those of image {need.image_id} cannot be used')

    def _take(self, need):
        with self._logged():
            return self._take_one(self._of_glance().published(need),
                                  need.image_id, _meets(need))

    def take_layout(self, wanted, scope):
        """Return the key of the very base that a delta was made on.

        :param wanted: the layered.Wanted
        :param scope: as for Wanted.is_met_by()
        :returns: None if there is none
        """
        with self._logged():
            images = self._glance.list(**{publication.KEY: wanted.base_key})
            return self._take_one(
                filter(publication.is_published, images), wanted.image_id,
                lambda base: wanted.is_met_by(base, scope))

    @contextlib.contextmanager
    def _logged(self):
        try:
            yield
        except exception.FlexMemException as e:
            LOG.warning('No published base is taken: %s', e)

    def _take_one(self, images, image_id, is_wanted):
        """Bring the first base that can be used.

        :param images: glance.Images that hold bases
        :param image_id: what the bases are of
        :param is_wanted: says of a basefiles.Base whether it will do
        """
        for image in images:
            try:
                key = self._bring(image, image_id, is_wanted)
            except exception.BaseDamaged as e:
                # whoever builds the base next publishes it anew
                LOG.error('The published base in image %(id)s is removed, and'
                          ' not used: %(e)s', {'id': image.id, 'e': e})
                self._glance.delete(image.id)
            else:
                if key:
                    return key
        return None

    def _bring(self, image, image_id, is_wanted):
        """Bring one published base into the store.

        :returns: its key; None if it is not wanted
        :raises: BaseDamaged, PublishFailed, StoreUnusable
        """
        key = image.properties.get(publication.KEY, '')
        begun = time.monotonic()
        if not publication.is_key(key):
            raise exception.BaseDamaged(path=image.id, key=key,
                                        reason='its key is none')
        store = self._store()
        if store.is_whole(key) and is_wanted(store.require(key)):
            return key
        with (store.lock(locks.BUILD, key),
              store.build_folder(key) as build_folder, store.reporting()):
            folder = os.path.join(build_folder, key)
            os.mkdir(folder)
            base = archive.write_manifest(
                folder, image.properties[publication.MANIFEST],
                self._group.max_base_size_gib * units.Gi)
            if not is_wanted(base):
                return None
            room.make_room(
                store, archive.size_bytes(base) + image.size_bytes,
                self._group.max_store_size_gib * units.Gi)
            with downloads.path(store) as path:
                LOG.info('Taking base %(key)s of image %(image)s from Glance,'
                         ' %(mib)d MiB', {
                             'key': key, 'image': image_id,
                             'mib': image.size_bytes >> 20})
                self._glance.download(image.id, path,
                                      archive.max_packed_bytes(base))
                worker.call('unpack', self._group, path=path, folder=folder)
            store.publish(folder, key)
        self._make_boot_files(store, key)
        LOG.info('Took base %(key)s of image %(image)s, built by %(host)s, in'
                 ' %(s).0f s', {
                     'key': key, 'image': image_id,
                     'host': image.properties.get(publication.HOST),
                     's': time.monotonic() - begun})
        return key

    def _make_boot_files(self, store, key):
        """Make those of this version, if the base has others.

        :raises: BaseDamaged; the base is not kept then
        """
        try:
            worker.call('check', self._group, key=key)
        except exception.BaseDamaged:
            store.remove(key)
            raise

    def wait_uploads(self):
        """Wait until what this host publishes is in Glance."""
        self._uploads.wait()


def _meets(need):
    """Return a function that says whether a Base is what a Need is of."""
    def meets(base):
        return (base.manifest.scope == need.scope and
                need.rootfs in ('auto', base.manifest.rootfs))
    return meets
