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


"""Nova's own tests of its libvirt driver, on the FlexMem driver.

Nova's test modules must be the first of Nova to be imported: they choose its
threading, and forbid eventlet. Then the driver is exchanged, because Nova's
tests name methods of it while they are imported.
"""

import os

os.environ['OS_NOVA_DISABLE_EVENTLET_PATCHING'] = '1'

import nova.tests.unit  # noqa: E402,F401

from tests.nova import exchange  # noqa: E402

exchange.prepare()
if not exchange.STOCK:
    exchange.put()
