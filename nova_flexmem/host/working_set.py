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

"""Which part of their bases instances really use, found out by waiting.

A processor marks a page-table entry when it uses the page. The marks of QEMU's
entries are taken away (/proc/PID/clear_refs), and counted after some time
("Referenced" in /proc/PID/smaps). Nothing is reclaimed; the kernel only
forgets which pages of files the process used lately, which it goes by when
memory is short.

That tells of a guest's use only where QEMU itself carries out the guest's
accesses. With KVM a guest has page tables of its own, whose marks
/proc/PID/clear_refs neither takes away nor smaps counts.
"""

import time

from nova_flexmem import exception
from nova_flexmem.host import accounting
from nova_flexmem.host import memory
from nova_flexmem.host import processes

_MAPPED_FILES = '3'  # see proc_pid_clear_refs(5)


def measure(wait_s):
    """Return what instances use of their bases in a time: {pid: bytes}.

    Instances that run with KVM, and those that end meanwhile, are left out.

    :param wait_s: how long to wait, seconds
    :raises: HostUnfit if this user may not look
    """
    watched = {}
    for qemu in processes.running():
        try:
            areas = [area.start for area in accounting.areas_of(qemu.pid)
                     if area.inode and area.permissions == 'r--s']
            if areas and not processes.uses_kvm(qemu.pid):
                with open(f'/proc/{qemu.pid}/clear_refs', 'w') as f:
                    f.write(_MAPPED_FILES)
                watched[qemu.pid] = areas
        except PermissionError as e:
            raise exception.HostUnfit(
                reason=f'process {qemu.pid} cannot be watched ({e}); only'
                ' root may')
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended
    time.sleep(wait_s)
    used = {}
    for pid, starts in watched.items():
        try:
            areas = memory.parse(memory.read(pid, 'smaps'))
        except (FileNotFoundError, ProcessLookupError):
            continue
        used[pid] = sum(area.kib['Referenced'] << 10 for area in areas
                        if area.start in starts)
    return used
