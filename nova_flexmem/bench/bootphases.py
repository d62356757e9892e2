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

"""The phases of a guest's boot, as the guest reports them.

The kernel counts its time from when it begins; systemd says when itself and
its targets began on the same clock (see org.freedesktop.systemd1(5),
Timestamps). What was before that is the firmware's and the boot loader's.
"""

import dataclasses
import re

from nova_flexmem import exception

#: Prints, in a guest whose boot has ended, what parse() reads.
SCRIPT = '''\
systemctl show --property UserspaceTimestampMonotonic
systemctl show --property ActiveEnterTimestampMonotonic multi-user.target
dmesg | grep 'Run .* as init process'
'''

_USERSPACE = re.compile(r'^UserspaceTimestampMonotonic=(\d+)$', re.MULTILINE)
_MULTI_USER = re.compile(r'^ActiveEnterTimestampMonotonic=([1-9]\d*)$',
                         re.MULTILINE)
#: init/main.c says so of the initramfs's init, and of the image's own one
#: only where there is no initramfs.
_RUN_INIT = re.compile(r'^\[ *(\d+\.\d+)\] Run (\S+) as init process$',
                       re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Phases:
    """Seconds that each phase of a boot took.

    :ivar firmware: from power-on until the kernel counts time: firmware, boot
        loader, and the kernel's own unpacking
    :ivar kernel: until it runs the initramfs's init
    :ivar initramfs: until the image's own init runs
    :ivar userspace: until multi-user.target
    """

    firmware: float
    kernel: float
    initramfs: float
    userspace: float


def parse(output, total_s):
    """Return the Phases of a boot.

    :param output: what SCRIPT printed
    :param total_s: seconds from power-on to multi-user.target
    :raises: BenchFailed if something is missing in it
    """
    text = output.replace('\r', '')
    run_init = _RUN_INIT.search(text)
    userspace, multi_user = _USERSPACE.search(text), _MULTI_USER.search(text)
    if not (run_init and userspace and multi_user):
        raise exception.BenchFailed(
            reason='a guest does not tell when the phases of its boot began;'
            f' it says: {output}')
    init_s = float(run_init[1])
    userspace_s = int(userspace[1]) / 1e6
    multi_user_s = int(multi_user[1]) / 1e6
    return Phases(total_s - multi_user_s, init_s, userspace_s - init_s,
                  multi_user_s - userspace_s)
