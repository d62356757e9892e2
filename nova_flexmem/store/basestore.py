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
    STORE/locks/               one lock per key
    STORE/uses/KEY/USER        one empty file per user of a base
    STORE/uses/KEY.clock       when that changed, by the time since the boot
    STORE/verified/KEY         the state in which a base was last verified
    STORE/names/NAME           the key that a name stands for
    STORE/downloads/           images that Nova builds bases of
    STORE/appliance/           the appliance that reads images

A base appears whole by the rename of its build folder, and goes the same way.
Locks end with the process that holds them, so a build folder whose lock is
free is a leftover.
"""

import contextlib
import hashlib
import os
import re
import uuid

from oslo_concurrency import lockutils
from oslo_log import log

from nova_flexmem import exception
from nova_flexmem import files
from nova_flexmem.store import basefiles
from nova_flexmem.store import diskerrors
from nova_flexmem.store import lockcheck
from nova_flexmem.store import names
from nova_flexmem.store import room
from nova_flexmem.store import uses
from nova_flexmem.store import verified

LOG = log.getLogger(__name__)

_FOLDERS = ('bases', 'builds', 'locks', 'uses', 'verified', 'names',
            'downloads', 'appliance')
_KEY = re.compile(r'[0-9a-f]{32}')
_NAMESPACE = uuid.UUID('6f1c7a3e-0a3b-4f0e-9d6c-0d1f5a3c9b21')


def key_of(image_sha256, rootfs, scope=''):
    """Return the key of the base that an image becomes.

    :param image_sha256: what source.digest returned
    :param rootfs: the root filesystem asked for
    :param scope: who shares the base; any text
    """
    text = f'{basefiles.FORMAT} {rootfs} {image_sha256}'
    if scope:
        text += f' {scope}'
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def uuid_of(image_sha256, rootfs):
    """Return the uuid of the root filesystem of the base of an image.

    Overlays note it in their delta, and mount on no other one. So it is the
    same on all hosts, whoever shares the base, and of whatever format that is.

    :param image_sha256: what source.digest returned
    :param rootfs: the root filesystem that it has
    """
    return str(uuid.uuid5(_NAMESPACE, f'{rootfs} {image_sha256}'))


class Store:
    """The base store in a folder; makes it if it is not there.

    :param read_only: only look at it; then it need not be there
    :raises: StoreUnusable, also for root where it is another user's: files of
        root in it would be in that user's way
    """

    def __init__(self, path, *, read_only=False):
        self.path = os.path.abspath(path)
        self._uses = uses.Uses(self.folder('uses'), read_only=read_only)
        self._verified = verified.Verified(self.folder('verified'))
        self._names = names.Names(self.folder('names'))
        if not read_only:
            with self.reporting():
                self._make()
            lockcheck.check(self.folder('locks'))

    def _make(self):
        os.makedirs(self.path, exist_ok=True)
        owner = os.stat(self.path).st_uid
        if os.geteuid() == 0 != owner:
            raise exception.StoreUnusable(
                store=self.path, reason=f'it belongs to user {owner}, in whose'
                ' way files of root would be; run this as that user, or with'
                ' another store')
        for name in _FOLDERS:
            os.makedirs(os.path.join(self.path, name), exist_ok=True)

    def exists(self):
        """Return whether the store has been made."""
        with self.reporting():
            try:
                os.stat(self.folder('bases'))
            except FileNotFoundError:
                return False
        return True

    def is_own(self):
        """Return whether a store that exists is this user's."""
        with self.reporting():
            return os.stat(self.path).st_uid == os.geteuid()

    def reporting(self):
        """Turn the operating system's errors into StoreUnusable."""
        return diskerrors.reporting(self.path)

    def folder(self, name):
        """Return the path of one of the store's folders."""
        return os.path.join(self.path, name)

    @contextlib.contextmanager
    def lock(self, key, blocking=True):
        """Hold the lock of a key; a context manager.

        :raises: lockutils.AcquireLockFailedException if another holds it
            and blocking is false; StoreUnusable
        """
        with contextlib.ExitStack() as stack:
            with self.reporting():
                stack.enter_context(lockutils.lock(
                    f'flexmem-{key}', external=True,
                    lock_path=self.folder('locks'), blocking=blocking))
            yield

    def get(self, key):
        """Return the Base of a key, or None.

        :raises: BaseDamaged if it can't be used; StoreUnusable
        """
        return basefiles.Base(self._path(key)) if self._has(key) else None

    def require(self, key):
        """Return the Base of a key.

        :raises: BaseNotFound, BaseDamaged
        """
        found = self.get(key)
        if found is None:
            raise exception.BaseNotFound(key=key, store=self.path)
        return found

    def keys(self):
        """Return the keys of all published bases, sorted."""
        with self.reporting(), contextlib.suppress(FileNotFoundError):
            return sorted(name for name in os.listdir(self.folder('bases'))
                          if _KEY.fullmatch(name))
        return []  # it has not been made yet

    def find(self, beginning):
        """Return the key that begins with some characters.

        :raises: BaseNotFound, BaseAmbiguous
        """
        found = [key for key in self.keys()
                 if beginning and key.startswith(beginning)]
        if len(found) > 1:
            raise exception.BaseAmbiguous(key=beginning, store=self.path)
        if not found:
            raise exception.BaseNotFound(key=beginning, store=self.path)
        return found[0]

    @contextlib.contextmanager
    def build_folder(self, key):
        """Give a folder to build in; what is left in it at the end goes."""
        path = self._build_path(key)
        with self.reporting():
            os.mkdir(path, 0o700)
        try:
            yield path
        finally:
            files.discard(path)

    def publish(self, folder, key):
        """Make a finished base directory appear under its key, at once.

        The caller holds the key's lock.
        """
        with self.reporting():
            for name in (*basefiles.FILES, basefiles.MANIFEST):
                path = os.path.join(folder, name)
                os.chmod(path, 0o444)
                files.sync(path)
            os.chmod(folder, 0o755)
            files.sync(folder)
            self._uses.begin(key)
            os.rename(folder, self._path(key))
            files.sync(self.folder('bases'))

    def clean(self):
        """Remove what killed builds and removals left behind."""
        with self.reporting():
            builds = os.listdir(self.folder('builds'))
        for name in builds:
            with contextlib.suppress(lockutils.AcquireLockFailedException):
                with self.lock(name.partition('.')[0], blocking=False):
                    LOG.info('Removing the leftover build %s', name)
                    files.discard(os.path.join(self.folder('builds'), name))

    def check(self, key):
        """Return a base that a guest may start from.

        Its bytes are read again once per boot of the host, and whenever its
        files were touched.

        :raises: BaseNotFound, BaseDamaged
        """
        found = self.require(key)
        if not self._verified.holds(found):
            with self.reporting():
                self._verified.verify(found)
        return found

    def verified(self, key):
        """Return whether check() would find a base right at once.

        :raises: BaseNotFound, BaseDamaged
        """
        return self._verified.holds(self.require(key))

    def verify(self, key, progress=None):
        """Read every byte of a base again, whatever is known about it.

        One that is damaged is not known to be whole any more, so that
        check() does not take it.

        :param progress: called with the fraction done, 0 to 1
        :raises: BaseNotFound, BaseDamaged
        """
        try:
            self.require(key).verify(progress)
        except exception.BaseDamaged as e:
            try:
                self._verified.forget(key)
            except OSError as error:  # in another's store, for example
                raise exception.BaseDamaged(**e.kwargs | {
                    'reason': f'{e.kwargs["reason"]}, and instances may start'
                    ' from it until the host boots, as'
                    f' {error.filename} cannot be removed'
                    f' ({error.strerror})'})
            raise

    def name(self, name, key):
        """Let a name stand for a base, and for no other from now on.

        :param name: 1 to 255 letters, digits, ".", "_" or "-", else
            ValueError is raised
        :raises: BaseNotFound, BaseDamaged
        """
        with self.lock(key):
            self.require(key)
            with self.reporting(), self.build_folder(key) as folder:
                self._names.set(name, key, folder)

    def named(self, name):
        """Return the key of the base that a name stands for, or None.

        None too if the base is of an older format: it is to be built anew.
        """
        with self.reporting():
            key = self._names.get(name)
        if key is None or not _KEY.fullmatch(key) or not self._has(key):
            return None
        return None if basefiles.outdated(self._path(key)) else key

    def names(self, key):
        """Return the names of a base, sorted."""
        with self.reporting():
            return self._names.of(key)

    def use(self, key, user):
        """Record that somebody (an instance's uuid) uses a base.

        :returns: the Base, checked
        :raises: BaseNotFound, BaseDamaged
        """
        with self.lock(key):
            found = self.check(key)
            with self.reporting():
                self._uses.add(key, user)
        return found

    def release(self, key, user):
        """Take the record of use() back; it is no error if there is none."""
        with self.reporting():
            self._uses.discard(key, user)

    def recorded_users(self, key):
        """Return who was recorded by use() as using a base, sorted."""
        with self.reporting():
            return self._uses.users(key)

    def users(self, key):
        """Return who uses a base: by record, or by mapping it right now.

        The QEMU of a recorded instance is not named again.
        """
        recorded = self.recorded_users(key)
        root_pmem = os.path.join(self._path(key), basefiles.ROOT_PMEM)
        with self.reporting():
            return recorded + [
                f'process {pid}' for pid in uses.mapping(root_pmem)
                if not uses.belongs_to(pid, recorded)]

    def unused_s(self, key):
        """Return for how many seconds a base has been out of use."""
        with self.reporting():
            return 0.0 if self.users(key) else self._uses.unused_s(key)

    def size_bytes(self):
        """Return how much disk bases, builds and the appliance take."""
        return sum(room.allocated_bytes(self.folder(name))
                   for name in ('bases', 'builds', 'downloads', 'appliance'))

    def remove(self, key):
        """Remove a base.

        :raises: BaseInUse
        """
        with self.lock(key):
            self._remove(key)

    def prune(self, minimum_age_s):
        """Remove the bases that have been out of use for long enough.

        :returns: their keys
        """
        removed = []
        for key in self.keys():
            with self.lock(key):
                if not self.users(key) and self.unused_s(key) >= minimum_age_s:
                    self._remove(key)
                    removed.append(key)
        return removed

    def _remove(self, key):
        users = self.users(key)
        if users:
            raise exception.BaseInUse(key=key, users=', '.join(users))
        # as it is, not in a folder for it: a full disk has room for none
        leaving = self._build_path(key)
        with self.reporting():
            self._names.drop(key)
            self._verified.forget(key)
            self._uses.end(key)
            with contextlib.suppress(FileNotFoundError):
                os.rename(self._path(key), leaving)
            files.sync(self.folder('bases'))
        files.discard(leaving)

    def _path(self, key):
        return os.path.join(self.folder('bases'), key)

    def _build_path(self, key):
        return os.path.join(self.folder('builds'),
                            f'{key}.{uuid.uuid4().hex[:8]}')

    def _has(self, key):
        # os.path.isdir() would take a disk that fails for a missing base
        with self.reporting():
            try:
                os.stat(self._path(key))
            except FileNotFoundError:
                return False
        return True
