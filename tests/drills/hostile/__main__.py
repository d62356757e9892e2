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

"""Use one means, in a guest: python3 -m tests.drills.hostile NAME.

Says on standard output and on the console what came of it: the name, "done" or
the error's name, and how many bytes of the device read otherwise than before,
through the guest's page cache and past it ("-" if it cannot be read). The
console has it without these numbers first, as the guest may not live to count.
"""

import errno
import os
import sys

from tests.drills.hostile import device
from tests.drills.hostile import means

_CONSOLE = '/dev/ttyS0'


def main():
    # a host's own devices are not to be tried on
    if 'flexmem.base=' not in device.read('/proc/cmdline'):
        sys.exit('this is for guests')
    name = sys.argv[1]
    before = device.content(os.O_DIRECT)
    changed = None
    try:
        changed = means.MEANS[name]()
        said = 'done'
    except OSError as e:
        said = errno.errorcode.get(e.errno, str(e.errno))
    _say(_CONSOLE, name, said, '-', '-')
    seen = [changed, changed]
    if changed is None:
        seen = [_changed(before, flags) for flags in (0, os.O_DIRECT)]
        # what is in there alone need not bring the guest down
        device.write('/proc/sys/vm/drop_caches', '3')
    _say(_CONSOLE, name, said, *seen)
    _say('/proc/self/fd/1', name, said, *seen)


def _say(path, *words):
    with open(path, 'a', encoding='ascii') as f:
        print('\nMEANS', *words, file=f)


def _changed(before, flags):
    try:
        return device.changed_bytes(before, device.content(flags))
    except OSError:
        return '-'


if __name__ == '__main__':
    main()
