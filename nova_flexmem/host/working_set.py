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

"""Measures which part of their bases instances use within some time.

A processor marks a page-table entry when it accesses the page. measure()
clears the marks in QEMU's page table (/proc/PID/clear_refs) and counts the new
ones later ("Referenced" in /proc/PID/smaps). Nothing is reclaimed, but the
kernel forgets which file pages the process used recently; it needs that when
memory is short.

This works only with TCG, where QEMU itself makes the guest's accesses. With
KVM a guest has page tables of its own: clear_refs does not clear their marks,
and smaps does not count them.
"""

import time

from nova_flexmem import exception
from nova_flexmem.host import accounting
from nova_flexmem.host import memory
from nova_flexmem.host import processes

_MAPPED_FILES = '3'  # proc_pid_clear_refs(5)


def measure(wait_s):
    """Return what each instance uses of its base in a time: {pid: bytes}.

    Instances that run with KVM or end meanwhile are left out.

    :param wait_s: how long to wait, in seconds
    :raises: HostUnfit if this user may not watch QEMU
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
                reason=f'process {qemu.pid} cannot be watched ({e}); run this'
                ' as root')
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
