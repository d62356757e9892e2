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

"""The bases that instances need: found, built or brought from another host."""

import os

from oslo_log import log
from oslo_utils import fileutils
from oslo_utils import uuidutils

from nova_flexmem.build import bootfiles
from nova_flexmem.build import builder
from nova_flexmem import exception
from nova_flexmem.guest import domain
from nova_flexmem.virt import bring
from nova_flexmem.virt import imagebases
from nova_flexmem.virt import layered
from nova_flexmem.virt import policy
from nova_flexmem.virt import worker

LOG = log.getLogger(__name__)

#: The first format of bases whose uuid names the layout, so that a delta of
#: another layout is safe on them.
_NAMES_LAYOUT = 2


class Bases(imagebases.ImageBases):
    """The base store, as the instances of this host use it.

    :param group: the [flexmem] options
    :param image_api: Nova's image API
    """

    def clean(self):
        """Remove what a nova-compute that was killed left behind."""
        builder.clean(self.store)
        for name in os.listdir(self._downloads):
            fileutils.delete_if_exists(os.path.join(self._downloads, name))

    def of_record(self, context, instance, record, from_host=None):
        """Return the base that an instance starts on.

        That is the base that its delta was made on, from this host, from the
        host that the instance comes from, from another host with instances of
        the image, or from Glance. If it is nowhere, another layout of the
        image is taken, built now if need be: overlayfs sees that the
        filesystem is another one, and drops what the delta noted of the files
        below.

        :param from_host: where the instance was before, if it was elsewhere
        :raises: as of_image()
        """
        wanted = layered.Wanted.of(record)
        return _checked(
            self.here(wanted) or
            self._brought(context, wanted, None, from_host) or
            self._other_layout(context, instance, wanted), wanted)

    def of_snapshot(self, context, instance, wanted):
        """Return the base that the delta in a layered snapshot can lie on.

        As of_record(). But the properties of a snapshot are the tenant's, so
        the digest in them opens no base before the image itself is known to
        have it: by the base that this host has of it, or builds now.

        :param wanted: the layered.Wanted
        :raises: as of_image()
        """
        base = _checked(self.of_image(context, instance, wanted.image_id,
                                      wanted.rootfs), wanted)
        if base.layout == wanted.layout:
            return base
        scope = self.scope(instance)
        return (self.here(wanted, scope) or
                self._brought(context, wanted, scope) or
                self._other_layout(context, instance, wanted))

    def _other_layout(self, context, instance, wanted):
        LOG.warning(
            'No host has the base %(key)s (layout %(layout)s) that the delta'
            ' was made on; it gets another layout of image %(image)s',
            {'key': wanted.base_key, 'layout': wanted.layout,
             'image': wanted.image_id}, instance=instance)
        return self.of_image(context, instance, wanted.image_id,
                             wanted.rootfs, _NAMES_LAYOUT, patient=True)

    def here(self, wanted, scope=None):
        """Return the very base that is wanted, if the store has it whole."""
        if wanted.layout is None:
            return None
        keys = [base.key for base in self.store.usable()
                if wanted.is_met_by(base, scope)]
        # the one that was recorded, before equal ones under other keys
        for key in sorted(keys, key=lambda key: key != wanted.base_key):
            base = self._whole(key)
            if base is not None:
                return base
        return None

    def _brought(self, context, wanted, scope, from_host=None):
        if wanted.layout is None:
            return None
        with self._locked(wanted.base_key):
            base = self.here(wanted, scope)
            if base is not None:
                return base  # another thread brought it
            hosts = [from_host] if from_host else []
            hosts += [host for host in bring.hosts_with(
                context, wanted.image_id) if host != from_host]
            for host in hosts:
                if bring.bring(self.store, self._group, wanted, scope, host):
                    # a key of format 1 may stand for another layout here,
                    # which then stays in the store
                    return self.here(wanted, scope)
            if self._published and self._published.take_layout(wanted, scope):
                return self.here(wanted, scope)
        return None

    def bring_from(self, wanted, host, folder):
        """Bring a base from a host, if that has it.

        :param folder: of the bases there
        """
        with self._locked(wanted.base_key):
            bring.bring(self.store, self._group, wanted, None, host, folder)

    def cache(self, context, image_id):
        """Build the base of an image before any instance needs it.

        :returns: whether it was built just now; None if there is none now,
            so that instances may need the image itself
        """
        owner = imagebases.Requester()
        try:
            image = self._image_api.get(context, image_id)
            if layered.BASE_IMAGE in image['properties']:
                return False  # no other instances can boot from it
            if self._group.share_scope == 'project':
                LOG.info('Image %s: no base is built before an instance needs'
                         ' it, as each project has its own', image_id)
                return None
            asked = image['properties'].get(policy.IMAGE_POLICY)
            if asked == 'disabled' and self._group.image_policy != 'ignore':
                return None
            if self.known(owner, image_id):
                return False
            self.of_image(context, owner, image_id, patient=True)
        except exception.FlexMemException as e:
            LOG.warning('Image %(image)s got no base: %(e)s',
                        {'image': image_id, 'e': e})
            return None
        return True

    def use(self, base, instance):
        """Record that an instance uses a base.

        :returns: the domain.Boot of its guest
        :raises: BaseNotFound, BaseDamaged, StoreUnusable
        """
        store = self.store
        base = store.use(base.key, instance.uuid)
        if bootfiles.are_ready(store, base.key):
            return domain.Boot.of(base, bootfiles.folder(store, base))
        # the package was replaced under a nova-compute that still runs
        return domain.Boot.of(base, worker.call('check', self._group,
                                                key=base.key))

    def release(self, instance):
        """Take back that an instance uses any base."""
        for key in self.store.keys():
            self.store.release(key, instance.uuid)

    def age(self, alive, remove):
        """Drop the records of instances that are gone, and old bases.

        :param alive: tells whether the instance of a uuid is still here
        :param remove: whether bases may be removed at all
        """
        for key in self.store.keys():
            for user in self.store.recorded_users(key):
                if uuidutils.is_uuid_like(user) and not alive(user):
                    LOG.info('Base %s: instance %s is gone', key, user)
                    self.store.release(key, user)
        if remove:
            for key in self.store.prune(
                    self._group.remove_unused_base_minimum_age_s):
                LOG.info('Removed base %s, which no instance uses', key)

    def disk_usage_mib(self, path):
        """Return what the store keeps on the filesystem that a path is on."""
        store = self.store
        if os.stat(store.path).st_dev != os.stat(path).st_dev:
            return 0
        return store.kept_bytes() >> 20


def _checked(base, wanted):
    if base.manifest.image_sha256 != wanted.image_sha256:
        raise exception.ImageRefused(
            image=f'image {wanted.image_id}', reason='it is not the image that'
            f' the delta lies on (SHA-256 {wanted.image_sha256})')
    return base
