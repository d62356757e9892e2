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

"""The base store: the folder of a host's bases.

::

    STORE/bases/KEY/           published bases, immutable
    STORE/builds/KEY.RANDOM/   builds and removals under way
    STORE/boot/KEY.ID/         boot files that were made anew for a base
    STORE/locks/               the locks
    STORE/uses/KEY/USER        one empty file per user of a base
    STORE/uses/KEY.clock       when that changed, by the time since the boot
    STORE/verified/KEY         the state in which a base was last verified
    STORE/names/NAME           the key that a name stands for
    STORE/downloads/           images that Nova builds bases of
    STORE/appliance/           the appliance that reads images
    STORE/drivers/             driver packs, see driverpacks
    STORE/qmp/                 what QEMU reads when a guest starts

A base appears whole by the rename of its build folder, and goes the same way.
Locks end with the process that holds them, so a build folder whose lock is
free is a leftover.
"""

import contextlib
import hashlib
import os
import uuid

from oslo_concurrency import lockutils
from oslo_log import log

from nova_flexmem import exception
from nova_flexmem import files
from nova_flexmem.store import basefiles
from nova_flexmem.store import driverpacks
from nova_flexmem.store import locks
from nova_flexmem.store import names
from nova_flexmem.store import room
from nova_flexmem.store import users

LOG = log.getLogger(__name__)

#: Of the uuids of root filesystems.
NAMESPACE = uuid.UUID('6f1c7a3e-0a3b-4f0e-9d6c-0d1f5a3c9b21')


def image_key(image_sha256, rootfs, scope=''):
    """Return what stands for the build of a base: its lock and its folder.

    Bases of format 1 have it as their key.

    :param image_sha256: what imagebytes.digest returned
    :param rootfs: the root filesystem asked for
    :param scope: who shares the base; any text
    """
    return _digest(f'1 {rootfs} {image_sha256}', scope)


def key_of(root_sha256, image_sha256, scope=''):
    """Return the key of a base, which is known once it is built.

    It names the layout: two layouts of one image are two bases.

    :param root_sha256: of root.pmem
    """
    return _digest(f'2 {root_sha256} {image_sha256}', scope)


def format_1_uuid(image_sha256, rootfs):
    """Return the uuid that bases of an image have in format 1.

    It is the same for all layouts of the image.

    :param rootfs: the root filesystem that the base has
    """
    return str(uuid.uuid5(NAMESPACE, f'{rootfs} {image_sha256}'))


def _digest(text, scope):
    if scope:
        text += f' {scope}'
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Store(users.UsedBases, names.NamedBases):
    """The base store in a folder; makes it if it is not there.

    :param read_only: only look at it; then it need not be there
    :raises: StoreUnusable, also for root where another user owns it: files
        created by root would block that user
    """

    @property
    def driver_packs(self):
        """The DriverPacks of the store."""
        return driverpacks.DriverPacks(self.folder('drivers'))

    def find(self, beginning):
        """Return the key that begins with some characters.

        :raises: BaseNotFound, BaseAmbiguous
        """
        matches = [key for key in self.keys()
                   if beginning and key.startswith(beginning)]
        if len(matches) > 1:
            raise exception.BaseAmbiguous(key=beginning, store=self.path)
        if not matches:
            raise exception.BaseNotFound(key=beginning, store=self.path)
        return matches[0]

    def usable(self):
        """Return the bases whose manifests can be used, sorted by key."""
        bases = []
        for key in self.keys():
            with contextlib.suppress(exception.BaseNotFound,
                                     exception.BaseDamaged):
                bases.append(self.require(key))
        return bases

    def built_from(self, image_sha256, rootfs_asked, scope='',
                   minimum_format=1):
        """Return a whole base that an image was built into, or None.

        Of several layouts, the one with the most users; of these, the newest.
        Its bytes are read unless it is known to be whole.

        :param rootfs_asked: the setting of [flexmem] rootfs
        """
        old_key = image_key(image_sha256, rootfs_asked, scope)
        bases = [
            base for base in self.usable()
            if base.manifest.format >= minimum_format and (
                base.key == old_key or
                (base.manifest.image_sha256, base.manifest.scope)
                == (image_sha256, scope) and base.manifest.format > 1 and
                rootfs_asked in (base.manifest.rootfs_asked,
                                 base.manifest.rootfs))]
        bases.sort(key=lambda base: (len(self.recorded_users(base.key)),
                                     base.manifest.built_at), reverse=True)
        return next((base for base in bases if self.is_whole(base.key)), None)

    def publish(self, folder, key):
        """Make a finished base directory appear under its key, at once.

        A whole base that is there under the key already stays, and so shares
        its pages with those who use it. A damaged one is replaced; guests
        that map it keep it until they end.
        """
        with self.lock(locks.BASE, key), self.reporting():
            if self.is_whole(key):
                return
            for name in (*basefiles.FILES, basefiles.MANIFEST):
                path = os.path.join(folder, name)
                os.chmod(path, 0o444)
                files.sync(path)
            os.chmod(folder, 0o755)
            files.sync(folder)
            if self._is_there(self._path(key)):
                LOG.warning('Replacing the damaged base %s', key)
                self._verified.forget(key)
                self._discard(key)
            else:
                self._uses.begin(key)
            os.rename(folder, self._path(key))
            files.sync(self.folder('bases'))

    def clean(self):
        """Remove what killed builds and removals left behind."""
        with self.reporting():
            builds = os.listdir(self.folder('builds'))
        for name in builds:
            with contextlib.suppress(lockutils.AcquireLockFailedException):
                with self.lock(locks.BUILD, name.partition('.')[0],
                               blocking=False):
                    LOG.info('Removing the leftover build %s', name)
                    files.discard(os.path.join(self.folder('builds'), name))

    def size_bytes(self):
        """Return how much disk the store takes, with all that is under way."""
        return self._allocated_bytes('builds', 'downloads') + self.kept_bytes()

    def kept_bytes(self):
        """Return how much disk bases and the appliance take.

        That changes when a base comes or goes, and not while one is built.
        """
        return self._allocated_bytes('bases', 'boot', 'appliance')

    def _allocated_bytes(self, *names):
        return sum(room.allocated_bytes(self.folder(name)) for name in names)

    def remove(self, key):
        """Remove a base.

        :raises: BaseInUse, StoreUnusable
        """
        with self.lock(locks.BASE, key):
            users = self.users(key)
            if users:
                raise exception.BaseInUse(key=key, users=', '.join(users))
            with self.reporting():
                self._names.drop(key)
                self._verified.forget(key)
                self._uses.end(key)
                for name in os.listdir(self.folder('boot')):
                    if name.partition('.')[0] == key:
                        files.discard(os.path.join(self.folder('boot'), name))
                self._discard(key)
                files.sync(self.folder('bases'))

    def prune(self, minimum_age_s):
        """Remove the bases that have been out of use for long enough.

        :returns: their keys
        """
        removed = []
        for key, unused_s in self.unused_s().items():
            if unused_s >= minimum_age_s:
                with contextlib.suppress(exception.BaseInUse):  # by now
                    self.remove(key)
                    removed.append(key)
        return removed

    def _discard(self, key):
        """Take a base away at once, and then remove its files."""
        # as it is, not in a folder for it: a full disk has room for none
        leaving = self._build_path(key)
        with contextlib.suppress(FileNotFoundError):
            os.rename(self._path(key), leaving)
        files.discard(leaving)
