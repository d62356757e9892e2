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

"""Files and folders: made durable, or removed."""

import contextlib
import os
import shutil


def sync(path):
    """Write a file, or the entries of a folder, to the disk (fsync(2))."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def discard(path):
    """Remove a folder; what cannot be removed stays."""
    with contextlib.suppress(OSError):  # rmtree() does not ignore all of them
        shutil.rmtree(path, ignore_errors=True)
