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

"""The bases that instances need: found, built, or brought from another host.

A base is known by the Glance id of its image too, so that an image that the
store has needs neither a download nor a look at its bytes.
"""

import contextlib
import dataclasses
import os
import threading
import time
import uuid

from oslo_log import log
from oslo_utils import fileutils
from oslo_utils import uuidutils

from nova.virt import images

from nova_flexmem.build import bootfiles
from nova_flexmem.build import builder
from nova_flexmem import exception
from nova_flexmem.guest import domain
from nova_flexmem.store import basestore
from nova_flexmem.store import diskerrors
from nova_flexmem.store import locks
from nova_flexmem.virt import bring
from nova_flexmem.virt import errors
from nova_flexmem.virt import layered
from nova_flexmem.virt import policy
from nova_flexmem.virt import worker

LOG = log.getLogger(__name__)

#: What images can be a base, by Glance's disk_format.
DISK_FORMATS = ('raw', 'qcow2')

#: The first format of bases whose uuid names the layout, so that a delta of
#: another layout is safe on them.
_NAMES_LAYOUT = 2


@dataclasses.dataclass(frozen=True)
class Requester:
    """For whom a base is built, where it is not for an instance."""

    project_id: str = ''
    trusted_certs: None = None


class Bases:
    """The base store, as the instances of this host use it.

    :param group: the [flexmem] options
    :param image_api: Nova's image API
    """

    def __init__(self, group, image_api):
        self._group = group
        self._image_api = image_api
        self._refused = {}
        self._slots = threading.BoundedSemaphore(group.max_parallel_builds)

    @property
    def store(self):
        """The Store; made if it is not there."""
        return basestore.Store(self._group.store_path)

    def clean(self):
        """Remove what a nova-compute that was killed left behind."""
        builder.clean(self.store)
        for name in os.listdir(self._downloads):
            fileutils.delete_if_exists(os.path.join(self._downloads, name))

    def of_image(self, context, owner, image_id, rootfs=None,
                 minimum_format=1):
        """Return the base of an image, built now if there is none.

        :param owner: the instance, or a Requester
        :param rootfs: the root filesystem that a delta needs, be it that of
            new instances or not; None if there is no delta yet
        :param minimum_format: of the base
        :raises: ImageRefused, BuildFailed, StoreUnusable, BaseDamaged; what
            Nova raises for images that can't be downloaded
        """
        found = self.known(owner, image_id, rootfs, minimum_format)
        if found is not None:
            return found
        *others, last = self._choices(rootfs)
        for choice in others:
            with errors.logged(f'Building a base of image {image_id}'):
                found = self._of_image(context, owner, image_id, choice,
                                       minimum_format)
                if found.manifest.rootfs == rootfs:
                    return found
        return self._of_image(context, owner, image_id, last, minimum_format)

    def _of_image(self, context, owner, image_id, rootfs, minimum_format):
        name = self._name(owner, image_id, rootfs)
        with self._locked(name):
            if name in self._refused:
                raise exception.ImageRefused(**self._refused[name])
            found = self._named(name, minimum_format)
            if found is None:
                found = self._build(context, owner, image_id, name, rootfs,
                                    minimum_format)
        return found

    def known(self, owner, image_id, rootfs=None, minimum_format=1):
        """Return the base of an image if the store has it whole, else None.

        The parameters are those of of_image().
        """
        for choice in self._choices(rootfs):
            found = self._named(self._name(owner, image_id, choice),
                                minimum_format)
            if found and rootfs in (None, found.manifest.rootfs):
                return found
        return None

    def of_delta(self, context, owner, wanted, scope=None, from_host=None):
        """Return the base that a delta can lie on.

        That is the base that it was made on, from this host, from the host
        that the instance comes from, or from another host with instances of
        the image. If no host has it, another layout of the image is taken,
        built now if need be: overlayfs sees that the filesystem is another
        one, and drops what the delta noted of the files below.

        :param owner: the instance
        :param wanted: the layered.Wanted
        :param scope: the base must have been built for it; None: any
        :param from_host: where the instance was before, if it was elsewhere
        :raises: as of_image()
        """
        base = (self._here(wanted, scope) or
                self._brought(context, owner, wanted, scope, from_host))
        if base is None:
            LOG.warning(
                'No host has the base %(key)s (layout %(layout)s) that the'
                ' delta was made on; it gets another layout of image'
                ' %(image)s', {'key': wanted.base_key,
                               'layout': wanted.layout,
                               'image': wanted.image_id}, instance=owner)
            base = self.of_image(context, owner, wanted.image_id,
                                 wanted.rootfs, _NAMES_LAYOUT)
        if base.manifest.image_sha256 != wanted.image_sha256:
            raise exception.ImageRefused(
                image=f'image {wanted.image_id}', reason='it is not the image'
                f' that the delta lies on (SHA-256 {wanted.image_sha256})')
        return base

    def _here(self, wanted, scope):
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

    def _brought(self, context, owner, wanted, scope, from_host):
        if wanted.layout is None:
            return None
        with self._locked(wanted.base_key):
            base = self._here(wanted, scope)
            if base is not None:
                return base  # another thread brought it
            hosts = [from_host] if from_host else []
            hosts += [host for host in bring.hosts_with(
                context, wanted.image_id) if host != from_host]
            for host in hosts:
                if bring.bring(self.store, self._group, wanted, scope, host):
                    return self._whole(wanted.base_key)
        return None

    def _whole(self, key):
        """Return a base that guests may start from, its boot files made.

        :returns: None if it is gone, or damaged, which is logged: whoever
            needs it then gets it anew
        """
        try:
            if not bootfiles.are_ready(self.store, key):
                worker.call('check', self._group, key=key)
            return self.store.require(key)
        except exception.BaseNotFound:
            return None
        except exception.BaseDamaged as e:
            LOG.error('%s', e)
            return None

    def cache(self, context, image_id):
        """Build the base of an image before any instance needs it.

        :returns: whether it was built just now
        """
        owner = Requester()
        if self._group.share_scope == 'project':
            LOG.info('Image %s: no base is built before an instance needs it,'
                     ' as each project has its own', image_id)
            return False
        try:
            image = self._image_api.get(context, image_id)
            if (image['properties'].get(policy.IMAGE_POLICY) == 'disabled' or
                    layered.BASE_IMAGE in image['properties'] or
                    self.known(owner, image_id)):
                return False
            self.of_image(context, owner, image_id)
        except exception.FlexMemException as e:
            LOG.warning('Image %(image)s got no base: %(e)s',
                        {'image': image_id, 'e': e})
            return False
        return True

    def use(self, base, instance):
        """Record that an instance uses a base.

        :returns: the domain.Boot of its guest
        :raises: BaseNotFound, BaseDamaged, StoreUnusable
        """
        store = self.store
        base = store.use(base.key, instance.uuid)
        return domain.Boot.of(base, bootfiles.folder(store, base))

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
        """Return what the store takes of the filesystem that a path is on."""
        store = self.store
        if os.stat(store.path).st_dev != os.stat(path).st_dev:
            return 0
        return store.size_bytes() >> 20

    @contextlib.contextmanager
    def download(self, context, image_id, trusted_certs=None):
        """Give the path of a private copy of an image's file.

        :raises: StoreUnusable; what Nova raises
        """
        path = os.path.join(self._downloads, uuid.uuid4().hex)
        try:
            try:
                images.fetch(context, image_id, path, trusted_certs)
            except OSError as e:
                if e.errno not in diskerrors.WAYS_OUT:
                    raise  # of the network
                with diskerrors.reporting(path):
                    raise
            yield path
        finally:
            fileutils.delete_if_exists(path)

    @property
    def _downloads(self):
        return self.store.folder('downloads')

    def _choices(self, rootfs):
        """Return the settings of rootfs that give a base with a needed one."""
        if rootfs is None:
            return (self._group.rootfs,)
        if self._group.rootfs == 'auto':
            return ('auto', rootfs)  # the first is what new instances take
        return (rootfs, 'auto')

    def _name(self, owner, image_id, rootfs):
        parts = [image_id, rootfs, self.scope(owner)]
        return '.'.join(filter(None, parts))

    def scope(self, owner):
        """Return who shares the bases of an instance; '': everybody."""
        return (owner.project_id
                if self._group.share_scope == 'project' else '')

    def _named(self, name, minimum_format):
        key = self.store.key_named(name)
        base = None if key is None else self._whole(key)
        if base is None or base.manifest.format < minimum_format:
            return None
        return base

    def _locked(self, name):
        return self.store.lock(locks.NEED, name)

    def _build(self, context, owner, image_id, name, rootfs, minimum_format):
        image = self._image_api.get(context, image_id)
        label = f'image {image_id}'
        if image.get('disk_format') not in DISK_FORMATS:
            raise exception.ImageRefused(
                image=label, reason=f'its disk_format is'
                f' {image.get("disk_format")}; FlexMem can use'
                f' {" and ".join(DISK_FORMATS)}')
        started = time.monotonic()
        with self._slots, self.download(context, image_id,
                                        owner.trusted_certs) as path:
            LOG.info('Building the base of image %s, %d MiB', image_id,
                     os.path.getsize(path) >> 20)
            try:
                answer = worker.call(
                    'build', self._group, image=path,
                    image_format=image['disk_format'],
                    scope=self.scope(owner), rootfs=rootfs, name=name,
                    minimum_format=minimum_format)
            except (exception.ImageRefused, exception.BuildFailed) as e:
                kwargs = e.kwargs | {'image': label}
                if isinstance(e, exception.ImageRefused):
                    self._refused[name] = kwargs
                raise type(e)(**kwargs)
        LOG.info('Image %(image)s has base %(key)s, %(what)s in %(s).0f s',
                 {'image': image_id, 'key': answer['key'],
                  'what': 'built' if answer['new'] else 'found',
                  's': time.monotonic() - started})
        return self.store.require(answer['key'])
