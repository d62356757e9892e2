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

"""The host's page cache of files that guests start from: empty, or full."""

import os

from oslo_utils import units

_READ_BYTES = units.Mi


def drop(path):
    """Drop a file from the page cache, less what processes have mapped."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)  # pages that are not on the disk yet would stay
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def fill(path):
    """Have all of a file's data in the page cache; holes take no reading."""
    with open(path, 'rb', buffering=0) as f:
        hole, end = 0, f.seek(0, os.SEEK_END)
        while hole < end:
            try:
                data = f.seek(hole, os.SEEK_DATA)
            except OSError:
                return  # nothing but a hole follows
            hole = f.seek(data, os.SEEK_HOLE)
            for position in range(data, hole, _READ_BYTES):
                os.pread(f.fileno(), min(_READ_BYTES, hole - position),
                         position)


#: What makes a file's cache so.
CACHES = {'cold': drop, 'warm': fill}
