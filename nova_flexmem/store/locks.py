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

"""The locks of a base store: files, locked as long as a process holds them.

A lock has a kind and a key. All keys of a kind share 256 files, so that a
store has as many lock files after years as after a day; two keys that share
one wait for each other. Whoever holds a lock may take one of a later kind, and
no other: nothing waits in a circle.
"""

import contextlib
import errno
import fcntl
import hashlib
import os

from oslo_concurrency import lockutils

from nova_flexmem import exception

#: The kinds, in the order in which they may be nested: what an instance needs
#: is looked for; a base is built or brought, which takes minutes; a base that
#: is published is changed, which takes no time.
KINDS = NEED, BUILD, BASE = 'need', 'build', 'base'

#: What fcntl(2) says if another process has the lock.
_TAKEN = (errno.EACCES, errno.EAGAIN)


@contextlib.contextmanager
def hold(folder, kind, key, blocking=True):
    """Hold a lock; a context manager.

    :param folder: the folder of the lock files
    :raises: lockutils.AcquireLockFailedException if another holds it and
        blocking is false; OSError
    """
    if kind not in KINDS:
        raise ValueError(kind)
    number = hashlib.sha256(key.encode()).hexdigest()[:2]
    with lockutils.lock(f'{kind}-{number}', external=True, lock_path=folder,
                        blocking=blocking):
        yield


def check(folder):
    """Check that files in a folder can be locked.

    Not every filesystem has locks: an NFS whose server has no lock daemon
    gives ENOLCK.

    :raises: StoreUnusable
    """
    try:
        f = open(os.path.join(folder, 'check'), 'a')
    except OSError:
        return  # a full disk, or another user's store; hold() will tell
    with f:
        try:
            fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            if e.errno not in _TAKEN:
                raise exception.StoreUnusable(
                    store=folder, reason='its filesystem has no locks'
                    f' ({e.strerror}); set [flexmem] store_path to a folder'
                    ' on a local filesystem')
