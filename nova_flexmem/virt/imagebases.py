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

"""Bases of Glance images, as Nova asks for them: found by name, or built.

The store knows a base by the Glance id of its image too, so that an image that
it has needs neither a download nor a look at its bytes.
"""

import contextlib
import dataclasses
import functools
import os
import time

from oslo_log import log

from nova.virt import images

from nova_flexmem.build import bootfiles
from nova_flexmem.build import renew
from nova_flexmem import exception
from nova_flexmem.publish import publication
from nova_flexmem.store import basestore
from nova_flexmem.store import diskerrors
from nova_flexmem.store import locks
from nova_flexmem.virt import downloads
from nova_flexmem.virt import errors
from nova_flexmem.virt import imagelimits
from nova_flexmem.virt import published
from nova_flexmem.virt import waiting
from nova_flexmem.virt import worker

LOG = log.getLogger(__name__)

#: How many refused images are remembered; the others are looked at again.
_MOST_REFUSED = 1000


@dataclasses.dataclass(frozen=True)
class Requester:
    """For whom a base is built, where it is not for an instance."""

    project_id: str = ''
    trusted_certs: None = None


class ImageBases:
    """The bases of Glance images in the base store of this host.

    :param group: the [flexmem] options
    :param image_api: Nova's image API
    :param connect: for published.Published; None: there are none
    """

    def __init__(self, group, image_api, connect=None):
        self._group = group
        self._image_api = image_api
        self._published = connect and published.Published(
            lambda: self.store, group, connect)
        self._refused = {}
        self._slots = waiting.Slots(group.max_parallel_builds,
                                    group.max_waiting_builds)

    @property
    def store(self):
        """The Store; made if it is not there."""
        return basestore.Store(self._group.store_path)

    def of_image(self, context, owner, image_id, rootfs=None,
                 minimum_format=1, patient=False):
        """Return the base of an image, built now if there is none.

        :param owner: the instance, or a Requester
        :param rootfs: the root filesystem that a delta needs, be it that of
            new instances or not; None if there is no delta yet
        :param minimum_format: of the base
        :param patient: whether to wait for other builds as long as they take
        :raises: ImageRefused, BuildFailed, StoreUnusable, BaseDamaged,
            HostBusy; what Nova raises for images that can't be downloaded
        """
        deadline = waiting.Deadline(
            None if patient else self._group.build_wait_s)
        base = self.known(owner, image_id, rootfs, minimum_format)
        if base is not None:
            return base
        *others, last = self._choices(rootfs)
        for choice in others:
            with errors.logged(f'Building a base of image {image_id}'):
                base = self._of_image(context, owner, image_id, choice,
                                      minimum_format, deadline)
                if base.manifest.rootfs == rootfs:
                    return base
        return self._of_image(context, owner, image_id, last, minimum_format,
                              deadline)

    def known(self, owner, image_id, rootfs=None, minimum_format=1):
        """Return the base of an image if the store has it whole, else None.

        The parameters are those of of_image().
        """
        for choice in self._choices(rootfs):
            base = self._named(self._name(owner, image_id, choice),
                               minimum_format)
            if base and rootfs in (None, base.manifest.rootfs):
                return base
        return None

    @contextlib.contextmanager
    def download(self, context, image_id, trusted_certs=None):
        """Give the path of a private copy of an image's file.

        :raises: StoreUnusable; what Nova raises
        """
        size_bytes = self._image_api.get(context, image_id).get('size')
        with downloads.path(self.store) as path:
            imagelimits.check_free(os.path.dirname(path), size_bytes)
            try:
                images.fetch(context, image_id, path, trusted_certs)
            except OSError as e:
                if e.errno not in diskerrors.WAYS_OUT:
                    raise  # of the network
                with diskerrors.reporting(path):
                    raise
            yield path

    def _of_image(self, context, owner, image_id, rootfs, minimum_format,
                  deadline):
        name = self._name(owner, image_id, rootfs)
        lock = functools.partial(self.store.lock, locks.NEED, name)
        with waiting.locked(lock, deadline):
            if name in self._refused:
                raise exception.ImageRefused(**self._refused[name])
            base = self._named(name, minimum_format)
            if base is None:
                base = (self._renewed(name) or
                        self._obtain(context, owner, image_id, name, rootfs,
                                     minimum_format, deadline))
        return base

    def _obtain(self, context, owner, image_id, name, rootfs, *how):
        """Return a base that another host published, or that is built now."""
        build = functools.partial(self._build, context, owner, image_id, name,
                                  rootfs, *how)
        if not self._published:
            return build()
        key = self._published.obtain(
            publication.Need(image_id, None, rootfs, self.scope(owner)), owner,
            functools.partial(self._image_api.get, context, image_id), build)
        self.store.set_name(name, key)
        return self._whole(key) or self.store.require(key)

    def _renewed(self, name):
        """Return a base made of the base of an older format; else None."""
        old = self._named(name, minimum_format=1)
        if old is None or not renew.can_renew(old):
            return None
        return self._whole(worker.call('renew', self._group, key=old.key,
                                       name=name))

    def _build(self, context, owner, image_id, name, rootfs, minimum_format,
               deadline):
        image = self._image_api.get(context, image_id)
        label = f'image {image_id}'
        imagelimits.check(image, label, self._group)
        imagelimits.make_room(self.store, image, self._group)
        started = time.monotonic()
        with self._slots.take(deadline), self.download(
                context, image_id, owner.trusted_certs) as path:
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
                    self._refuse(name, kwargs)
                raise type(e)(**kwargs)
        LOG.info('Image %(image)s has base %(key)s, %(what)s in %(s).0f s',
                 {'image': image_id, 'key': answer['key'],
                  'what': 'built' if answer['new'] else 'found',
                  's': time.monotonic() - started})
        return self.store.require(answer['key'])

    def _refuse(self, name, why):
        """Remember why an image is refused, and forget the oldest of many."""
        self._refused[name] = why
        for oldest in list(self._refused)[:-_MOST_REFUSED]:
            self._refused.pop(oldest, None)

    def _named(self, name, minimum_format):
        key = self.store.key_named(name)
        base = None if key is None else self._whole(key)
        if base is None or base.manifest.format < minimum_format:
            return None
        return base

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

    def _locked(self, name):
        return self.store.lock(locks.NEED, name)
