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

"""Records of trials that succeeded, so that they are not repeated in vain.

A record holds the state of all that the trial depends on, a value that JSON
can keep. The trial is repeated if the state is another one.
"""

import json
import os
import uuid


def read(path):
    """Return the state that write() recorded.

    :returns: None if no trial has succeeded yet, or the record is incomplete
    """
    try:
        with open(path) as f:
            return json.load(f)
    except (OSError, ValueError):
        return None


def write(path, state):
    """Record that a trial succeeded.

    :raises: OSError
    """
    temporary = f'{path}.{uuid.uuid4().hex}'
    with open(temporary, 'w') as f:
        json.dump(state, f)
    os.rename(temporary, path)


def version(path):
    """Return what changes when a file is replaced or written to."""
    if not os.path.exists(path):
        return [path]
    status = os.stat(path)
    return [path, status.st_ino, status.st_size, status.st_mtime_ns]
