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

"""The disk and the boot: what takes a look from the host, or a reboot."""

import os

from tests.guests import rows


def _machine_id(scene):
    first = scene.guest.output('cat /etc/machine-id')
    assert len(first.strip()) == 32, first
    scene.guest.reboot()
    assert scene.guest.output('cat /etc/machine-id') == first
    other = scene.make_guest('other')
    with other:
        other.wait_shell()
        assert other.output('cat /etc/machine-id') != first


def _grow(scene):
    guest = scene.guest
    before = int(guest.output('df --output=size -B1 / | tail -n 1'))
    code, said = guest.run('/lib/systemd/systemd-growfs /')
    assert code, said
    guest.power_off()
    os.truncate(scene.disk, os.stat(scene.disk).st_size + (1 << 30))
    guest.start()
    guest.wait_shell()
    after = int(guest.output('df --output=size -B1 / | tail -n 1'))
    assert after - before > 900 << 20, (before, after)


def _trim(scene):
    guest, disk = scene.guest, scene.disk
    # as cloud-init has it for disks of the flavor
    guest.output('echo "/dev/vdz /mnt auto defaults,nofail 0 2" >> /etc/fstab;'
                 ' dd if=/dev/urandom of=/root/large bs=1M count=64'
                 ' status=none; sync')
    full = os.stat(disk).st_blocks
    guest.output('rm /root/large; sync')
    guest.output('systemctl start fstrim.service')
    freed = (full - os.stat(disk).st_blocks) * 512
    assert freed > 60 << 20, freed
    guest.output('sed -i /vdz/d /etc/fstab')


def _journal(scene):
    guest = scene.guest
    guest.output('mkdir -p /var/log/journal && journalctl --flush'
                 ' && echo row-journal | systemd-cat && journalctl --sync')
    guest.cut_power()
    guest.start()
    guest.wait_shell()
    guest.output('journalctl --boot -1 | grep -q row-journal'
                 ' && journalctl --verify')


ROWS = (
    rows.Row(
        'trim', '``fstrim.timer``: deleted files free space on the host',
        rows.WORKS, 'if the host passes discards on: ``[libvirt]'
        ' hw_disk_discard = unmap``', _trim),
    rows.Row(
        'machine-id', 'A machine-id of its own, which stays', rows.WORKS, '',
        _machine_id, tried=False),
    rows.Row(
        'journal', 'A persistent journal, after a cut of power', rows.WORKS,
        '', _journal, tried=False),
    rows.Row(
        'growfs', '``systemd-growfs``, after a resize', rows.DIFFERS,
        'The start of the server grows the filesystem; ``systemd-growfs /``'
        ' ends with an error.', _grow, tried=False),
)
