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

from oslo_concurrency import processutils
from oslo_log import log
from oslo_utils import fileutils
from oslo_utils import units
from oslo_utils import uuidutils

from nova.virt import images
from nova.virt.libvirt import utils as libvirt_utils

from nova_flexmem.build import builder
from nova_flexmem import exception
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore
from nova_flexmem.store import diskerrors
from nova_flexmem.store import locks
from nova_flexmem.store import room
from nova_flexmem.virt import errors
from nova_flexmem.virt import layered
from nova_flexmem.virt import policy
from nova_flexmem.virt import worker

LOG = log.getLogger(__name__)

#: What images can be a base, by Glance's disk_format.
DISK_FORMATS = ('raw', 'qcow2')


@dataclasses.dataclass(frozen=True)
class Owner:
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

    def of_image(self, context, owner, image_id, rootfs=None):
        """Return the base of an image, built now if there is none.

        :param owner: the instance, or an Owner
        :param rootfs: the root filesystem that a delta needs, be it that of
            new instances or not; None if there is no delta yet
        :raises: ImageRefused, BuildFailed, StoreUnusable, BaseDamaged; what
            Nova raises for images that can't be downloaded
        """
        found = self.known(owner, image_id, rootfs)
        if found is not None:
            return found
        *others, last = self._choices(rootfs)
        for choice in others:
            with errors.logged(f'Building a base of image {image_id}'):
                found = self._of_image(context, owner, image_id, choice)
                if found.manifest.rootfs == rootfs:
                    return found
        return self._of_image(context, owner, image_id, last)

    def _of_image(self, context, owner, image_id, rootfs):
        name = self._name(owner, image_id, rootfs)
        with self._locked(name):
            if name in self._refused:
                raise exception.ImageRefused(**self._refused[name])
            found = self._named(name)
            if found is None:
                found = self._build(context, owner, image_id, name, rootfs)
        return found

    def known(self, owner, image_id, rootfs=None):
        """Return the base of an image if the store has it, else None.

        :param owner: as of_image(), and rootfs
        """
        for choice in self._choices(rootfs):
            found = self._named(self._name(owner, image_id, choice))
            if found and rootfs in (None, found.manifest.rootfs):
                return found
        return None

    def of_record(self, context, instance, record, from_host=None):
        """Return the base that an instance was built with.

        One that is gone is brought from the host that the instance comes
        from, or else built again.

        :param from_host: where the instance was before, if it was elsewhere
        :raises: as of_image()
        """
        found = self.store.get(record.base_key)
        if found is None:
            with self._locked(record.base_key):
                found = self.store.get(record.base_key)
                if found is None and from_host:
                    found = self._bring(record, from_host)
        if found is None:
            LOG.warning('Base %s is not in the store; building it again',
                        record.base_key, instance=instance)
            found = self.of_image(context, instance, record.image_id,
                                  record.rootfs)
        if found.manifest.image_sha256 != record.image_sha256:
            raise exception.BaseDamaged(
                path=found.path, key=found.key, reason='it was not built from'
                f' the image that instance {instance.uuid} was made from')
        return found

    def cache(self, context, image_id):
        """Build the base of an image before any instance needs it.

        :returns: whether it was built just now
        """
        owner = Owner()
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

        :returns: the Base, checked
        """
        if not self.store.is_verified(base.key):
            worker.call('check', self._group, key=base.key)
        return self.store.use(base.key, instance.uuid)

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
        parts = [image_id, rootfs, self._scope(owner)]
        return '.'.join(filter(None, parts))

    def _scope(self, owner):
        return (owner.project_id
                if self._group.share_scope == 'project' else '')

    def _named(self, name):
        key = self.store.key_named(name)
        return None if key is None else self.store.get(key)

    def _locked(self, name):
        return self.store.lock(locks.NEED, name)

    def _build(self, context, owner, image_id, name, rootfs):
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
                    scope=self._scope(owner), rootfs=rootfs, name=name)
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

    def _bring(self, record, host):
        key = record.base_key
        store = self.store
        LOG.info('Bringing base %s from host %s', key, host)
        try:
            with (store.lock(locks.BUILD, key),
                  store.build_folder(key) as build_folder):
                folder = os.path.join(build_folder, key)
                os.mkdir(folder)

                def bring(name):
                    libvirt_utils.copy_image(
                        os.path.join(store.folder('bases'), key, name),
                        os.path.join(folder, name), host=host, receive=True)

                bring(basefiles.MANIFEST)
                brought = basefiles.Base(folder)
                size_bytes = sum(file.size_bytes for file
                                 in brought.manifest.files.values())
                room.make_room(store, size_bytes,
                               self._group.max_store_size_gib * units.Gi)
                for name in basefiles.FILES:
                    bring(name)
                if root_sha256(brought) != record.root_sha256:
                    raise exception.BaseDamaged(
                        path=folder, key=key, reason='it is not the base that'
                        ' the instance was built with')
                worker.call('verify', self._group, folder=folder)
                store.publish(folder, key)
        except (exception.FlexMemException, OSError,
                processutils.ProcessExecutionError) as e:
            LOG.warning('Could not bring base %(key)s from %(host)s: %(e)s',
                        {'key': key, 'host': host, 'e': e})
            return None
        return store.require(key)


def root_sha256(base):
    """Return the SHA-256 of a base's root.pmem, hexadecimal."""
    return base.manifest.files[basefiles.ROOT_PMEM].sha256
