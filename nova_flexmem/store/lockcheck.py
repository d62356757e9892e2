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

"""Whether files can be locked where a base store is.

Not every filesystem has locks: an NFS whose server has no lock daemon gives
ENOLCK.
"""

import errno
import fcntl
import os

from nova_flexmem import exception

#: What fcntl(2) says if another process has the lock.
_TAKEN = (errno.EACCES, errno.EAGAIN)


def check(folder):
    """Lock a file in a folder, the way that the store's locks are.

    :raises: StoreUnusable
    """
    try:
        f = open(os.path.join(folder, 'check'), 'a')
    except OSError:
        return  # on a full disk, or in another's store; who locks will be told
    with f:
        try:
            fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            if e.errno not in _TAKEN:
                raise exception.StoreUnusable(
                    store=folder, reason='its filesystem has no locks'
                    f' ({e.strerror}); set [flexmem] store_path to a folder'
                    ' on a local filesystem')
