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

"""Files that are only in the base store while something is done with them."""

import contextlib
import os
import uuid

from oslo_utils import fileutils


@contextlib.contextmanager
def path(store):
    """Give the path of a new file, which is gone afterwards.

    :param store: the Store
    """
    found = os.path.join(store.folder('downloads'), uuid.uuid4().hex)
    try:
        yield found
    finally:
        fileutils.delete_if_exists(found)
