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

"""cloud-init with all modules that Debian has it run, on a config drive."""

import json

from tests.guests import rows

#: Other modules than those that always run, as users ask for them.
USER_DATA = """#cloud-config
ssh_authorized_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA row]
write_files: [{path: /root/written, content: text}]
runcmd: [[touch, /root/ran]]
growpart: {mode: auto, devices: [/]}
"""

#: status --wait ends with 2 where there was a warning
_STATUS = """
cloud-init status --wait --long; echo "code $?"
grep -hE 'WARNING|ERROR|CRITICAL|Traceback' /var/log/cloud-init.log \
    | sed 's/^/log: /'
"""


def _assert_done(guest):
    said = guest.output(_STATUS, timeout_s=1200)
    lines = said.splitlines()
    assert 'status: done' in lines and 'code 0' in lines, said
    assert not [line for line in lines if line.startswith('log: ')], said


def _first_boot(scene):
    _assert_done(scene.guest)
    result = json.loads(scene.guest.output(
        'cat /run/cloud-init/result.json'))
    assert result['v1']['datasource'].startswith('DataSourceConfigDrive')
    scene.guest.output(
        'test -e /root/ran && grep -q text /root/written'
        ' && grep -q row /home/debian/.ssh/authorized_keys'
        ' && test -e /etc/ssh/ssh_host_ed25519_key'
        ' && [ "$(hostname)" = group ]')


def _reboot(scene):
    scene.guest.output('rm /root/ran; : > /var/log/cloud-init.log')
    scene.guest.reboot()
    _assert_done(scene.guest)
    scene.guest.output('test ! -e /root/ran')


def _snapshot(scene):
    guest = scene.guest
    guest.output('echo kept > /root/kept; : > /var/log/cloud-init.log; sync')
    keys = guest.output('cat /etc/ssh/ssh_host_ed25519_key.pub')
    guest.power_off()
    other = scene.make_guest('other', scene.disk)
    with other:
        other.wait_shell()
        _assert_done(other)
        other.output('grep -q kept /root/kept && test -e /root/ran'
                     ' && [ "$(hostname)" = other ]')
        assert other.output('cat /etc/ssh/ssh_host_ed25519_key.pub') != keys
    guest.start()
    guest.wait_shell()


def _soft_reboot(scene):
    guest = scene.guest
    before = guest.output('cat /proc/sys/kernel/random/boot_id')
    guest.output("systemd-run --quiet --no-block"
                 " sh -c 'sleep 1; systemctl --no-block soft-reboot'")
    guest.wait_shell()
    assert guest.output('cat /proc/sys/kernel/random/boot_id') == before
    state = guest.system_state()
    assert not state.failed_units, state
    guest.output('mountpoint -q /var/lib/docker'
                 ' && test -d /run/flexmem/delta/upper')


_NOTE = '``cloud-init status --wait`` ends with 0, without a warning'

ROWS = (
    rows.Row('first-boot', 'cloud-init: the first boot', rows.WORKS, _NOTE,
             _first_boot),
    rows.Row('reboot', 'cloud-init: a reboot', rows.WORKS, _NOTE, _reboot),
    rows.Row('snapshot', "cloud-init: a snapshot's first boot, with another"
             ' instance id', rows.WORKS, _NOTE, _snapshot, tried=False),
)

#: systemd before 254 has no such reboot.
SOFT_REBOOT = rows.Row(
    'soft-reboot', '``systemctl soft-reboot``', rows.WORKS, '',
    _soft_reboot)
