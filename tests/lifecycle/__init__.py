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


"""Nova's life cycle of instances on real libvirt, QEMU and guests.

Nova's test modules must be the first of Nova to be imported: they choose its
threading, and forbid eventlet. libvirt comes before them, as they would put a
fake in its place.
"""

import os

import libvirt  # noqa: F401

os.environ['OS_NOVA_DISABLE_EVENTLET_PATCHING'] = '1'

import nova.tests.functional  # noqa: E402,F401
