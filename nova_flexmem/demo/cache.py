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

"""Files that are slow to make, kept and named by what they are made from."""

import hashlib
import json
import os
import shutil

from oslo_concurrency import lockutils


def get(folder, stem, suffix, recipe, make):
    """Return the path of a file in the folder; it is made if it is not there.

    Processes that want one file at once make it once, and a file with its
    final name is a whole one.

    :param recipe: all that decides what is in the file; JSON can write it
    :param make: called with a scratch folder on the same filesystem; returns
        the path of the finished file there
    """
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode())
    name = f'{stem}-{digest.hexdigest()[:12]}{suffix}'
    path = os.path.join(folder, name)
    if os.path.exists(path):
        return path
    with lockutils.lock(name, external=True,
                        lock_path=os.path.join(folder, 'locks')):
        if not os.path.exists(path):
            _make(path, f'{path}.partial', make)
    return path


def _make(path, scratch, make):
    # One of a process that was killed may be left.
    shutil.rmtree(scratch, ignore_errors=True)
    os.makedirs(scratch)
    try:
        made = make(scratch)
        with open(made, 'rb') as f:
            os.fsync(f.fileno())
        os.rename(made, path)
    finally:
        shutil.rmtree(scratch)
