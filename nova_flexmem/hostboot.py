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

"""Identifies the host's current boot, and tells its age."""

import time

_BOOT_ID = '/proc/sys/kernel/random/boot_id'


def boot_id():
    """Return the kernel's id of the current boot, text (random(4))."""
    with open(_BOOT_ID, encoding='ascii') as f:
        return f.read().strip()


def since_boot_s():
    """Return the seconds since the host booted; clock changes do not matter.

    Time in suspend counts (CLOCK_BOOTTIME, clock_gettime(2)).
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)
