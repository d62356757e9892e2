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

"""The guest's agent, and databases under load while a snapshot is taken."""

import json
import time

import libvirt
import libvirt_qemu

from tests.guests import rows

PACKAGES = ('mariadb-server', 'postgresql', 'postgresql-contrib',
            'qemu-guest-agent')

#: As Nova has it for images with hw_qemu_guest_agent=yes
DEVICES = """<channel type="unix">
  <target type="virtio" name="org.qemu.guest_agent.0"/>
</channel>"""

_LOAD = """
systemctl start postgresql mariadb
cd /tmp
su postgres -c 'createdb row && pgbench -q -i -s 1 row' > /root/log 2>&1
mariadb -e 'CREATE DATABASE one; CREATE TABLE one.t (n INT PRIMARY KEY)'
systemd-run --unit load-postgresql --uid postgres \
    pgbench -c 2 -T 600 row
systemd-run --unit load-mariadb sh -c '
    n=0; while n=$((n + 1)); do echo "INSERT INTO one.t VALUES ($n);"; done |
    mariadb'
sleep 10
"""

_CHECK = """
systemctl start postgresql mariadb
cd /tmp
su postgres -c "psql -qAt row" << 'END'
CREATE EXTENSION amcheck;
SELECT bt_index_check(c.oid, true) FROM pg_index i JOIN pg_class c
    ON i.indexrelid = c.oid WHERE c.relname LIKE 'pgbench%';
SELECT (SELECT sum(abalance) FROM pgbench_accounts) =
    (SELECT sum(bbalance) FROM pgbench_branches) AND
    (SELECT sum(abalance) FROM pgbench_accounts) =
    (SELECT sum(delta) FROM pgbench_history);
SELECT count(*) > 0 FROM pgbench_history;
END
mariadb -N -e 'CHECK TABLE one.t EXTENDED; SELECT COUNT(*) > 0 AND
    COUNT(*) = MAX(n) FROM one.t'
journalctl --boot --grep PANIC --quiet || true
"""


def _agent(scene, **command):
    domain = scene.guest.domain
    deadline = time.monotonic() + 120
    while True:
        try:
            return json.loads(libvirt_qemu.qemuAgentCommand(
                domain, json.dumps(command), 60, 0))['return']
        except libvirt.libvirtError:
            if time.monotonic() > deadline:
                raise AssertionError('no answer from the agent')
            time.sleep(1)


def _freeze(scene):
    guest, domain = scene.guest, scene.guest.domain
    _agent(scene, execute='guest-ping')
    assert domain.fsFreeze() >= 1
    try:
        assert _agent(scene, execute='guest-fsfreeze-status') == 'frozen'
        guest.output("systemd-run --quiet sh -c 'echo text > /root/new;"
                     " touch /run/written'")
        time.sleep(3)
        guest.output('test ! -e /run/written')
    finally:
        domain.fsThaw()
    guest.output('for second in 1 2 3 4 5 6 7 8; do'
                 ' ! [ -e /run/written ] || break; sleep 1; done;'
                 ' test -e /run/written')


def _assert_sound(guest):
    said = guest.output(f'set -e\n{_CHECK}', timeout_s=900)
    lines = said.split()
    assert lines.count('t') >= 2 and 'OK' in lines and 'f' not in lines and \
        'PANIC' not in said, said


def _databases(scene):
    """A copy of the delta while it is frozen needs no repair."""
    guest, domain = scene.guest, scene.guest.domain
    guest.output(f'set -e\n{_LOAD}', timeout_s=1200)
    _agent(scene, execute='guest-ping')
    assert domain.fsFreeze() >= 1
    try:
        other = scene.make_guest('other', scene.disk)
    finally:
        domain.fsThaw()
    guest.output('systemctl is-active load-postgresql load-mariadb')
    with other:
        other.wait_shell()
        assert 'recovering journal' not in other.console
        _assert_sound(other)


def _power_cut(scene):
    guest = scene.guest
    guest.output('systemctl is-active load-postgresql load-mariadb')
    guest.cut_power()
    guest.start()
    guest.wait_shell()
    _assert_sound(guest)


ROWS = (
    rows.Row(
        'agent', "``virsh domfsfreeze``, by QEMU's guest agent", rows.WORKS,
        'freezes the delta, and with it all that is written to ``/``;'
        ' ``os_require_quiesce`` needs it', _freeze),
    rows.Row(
        'snapshot', 'PostgreSQL and MariaDB in a quiesced snapshot, taken'
        ' under load', rows.WORKS, '', _databases),
    rows.Row(
        'power-cut', 'PostgreSQL and MariaDB after a cut of power under load',
        rows.WORKS, '', _power_cut),
)
