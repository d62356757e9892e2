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

"""Errors of the disk that a base store is on, as StoreUnusable."""

import contextlib
import errno
import os

from nova_flexmem import exception

_FREE_SPACE = 'free space in it, for example with "nova-flexmem image prune"'
_OTHER_DISK = ('its disk fails: see the kernel\'s log, and set [flexmem]'
               ' store_path to a folder on another disk')
_OTHER_FOLDER = ('make it a folder that this user may write to, or set'
                 ' [flexmem] store_path to one')

#: What to do about an error of the disk, by its errno.
WAYS_OUT = {
    errno.ENOSPC: _FREE_SPACE, errno.EDQUOT: _FREE_SPACE,
    errno.EIO: _OTHER_DISK,
    errno.EACCES: _OTHER_FOLDER, errno.EPERM: _OTHER_FOLDER,
    errno.EROFS: _OTHER_FOLDER, errno.EEXIST: _OTHER_FOLDER,
    errno.ENOTDIR: _OTHER_FOLDER}


@contextlib.contextmanager
def reporting(path):
    """Turn the operating system's errors into StoreUnusable.

    :param path: what to name for errors that name no file
    """
    try:
        yield
    except OSError as e:
        error = _cause(e)
        reason = error.strerror or str(error)
        if error.errno in WAYS_OUT:
            reason += f'; {WAYS_OUT[error.errno]}'
        raise exception.StoreUnusable(
            store=_path(error) or path, reason=reason)


def _cause(error):
    # os.makedirs() says this of a folder that it cannot look at, too
    if isinstance(error, FileExistsError) and error.filename:
        try:
            os.stat(error.filename)
        except OSError as e:
            return e
    return error


def _path(error):
    # it can be a descriptor as well, or relative to one that is not told
    name = error.filename
    if isinstance(name, str | bytes) and os.path.isabs(name):
        return os.fsdecode(name)
    return None


def try_out(path, size_bytes):
    """Write a file, which stays, to see the error that another may have met.

    Programs that write there seldom say which file it was, or why.

    :param size_bytes: how large the file may be that could not be written
    :raises: OSError
    """
    with open(path, 'xb') as f:
        os.posix_fallocate(f.fileno(), 0, size_bytes)
        os.fsync(f.fileno())
