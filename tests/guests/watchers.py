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

"""Programs that watch a server's files, and that look after it."""

from tests.guests import rows

_NODE_EXPORTER = """
prometheus-node-exporter --collector.disable-defaults \
    --collector.filesystem --web.listen-address=127.0.0.1:9111 {} \
    > log 2>&1 & exporter=$!
python3 - << 'END' > metrics
import time, urllib.request
for second in range(30):
    time.sleep(1)
    try:
        print(urllib.request.urlopen('http://127.0.0.1:9111/metrics')
              .read().decode())
        break
    except OSError:
        pass
END
kill $exporter
grep -q node_filesystem metrics || grep -q node_scrape metrics
"""
_METRIC = 'node_filesystem_size_bytes{device="/dev/vda",fstype="overlay",' \
    'mountpoint="/"}'

_AIDE = """
cat > /root/aide.conf << 'END'
database_in=file:/root/aide.db
database_out=file:/root/aide.db.new
report_level=changed_attributes
/etc p+i+n+u+g+s+m+c+ftype+sha256
!/etc/(mtab|resolv.conf|adjtime|cloud|hostname|hosts|fstab|machine-id)
/usr/bin p+i+n+u+g+s+m+c+ftype+sha256
END
"""


def _aide(scene):
    guest = scene.guest
    guest.output(f'{_AIDE} cd /root && aide --config aide.conf --init'
                 ' > /root/aide.log && mv aide.db.new aide.db && sync')
    guest.reboot()
    code, said = guest.run('cd /root && aide --config aide.conf --check')
    assert code == 0, said
    guest.output('echo "# changed" >> /usr/bin/ldd; touch /etc/added')
    code, said = guest.run('cd /root && aide --config aide.conf --check')
    assert code & 7 == 5, (code, said)
    assert 'Changed entries:\t\t1' in said.replace(' ', '') or \
        '/usr/bin/ldd' in said, said


ROWS = (
    rows.Row(
        'audit', 'auditd: rules that watch files of the image', rows.WORKS, '',
        """
systemctl start auditd
auditctl -w /usr/share/doc/debianutils/copyright -p wa -k row
echo changed >> /usr/share/doc/debianutils/copyright
mv /usr/share/doc/debianutils/copyright /usr/share/doc/debianutils/moved
sleep 2
ausearch --input-logs -k row -i > found
grep -q 'name=/usr/share/doc/debianutils/copyright' found
auditctl -D
"""),
    rows.Row(
        'needrestart', 'needrestart', rows.WORKS, 'names the services of'
        ' libraries that were upgraded, and no others', """
needrestart -b -r l > before 2> log
fails grep NEEDRESTART-SVC before
library=$(ldd /usr/sbin/sshd | grep -o '/[^ ]*libcrypto[^ ]*')
systemctl is-active ssh || systemctl start ssh
cp -p $library new
mv new $(readlink -f $library)
needrestart -b -r l > after 2>> log
grep -q 'NEEDRESTART-SVC: ssh.service' after
"""),
    rows.Row(
        'plocate', 'updatedb and locate', rows.WORKS, '', """
touch /etc/row-plocate
updatedb
locate /usr/bin/bash | grep -qx /usr/bin/bash
locate row-plocate | grep -qx /etc/row-plocate
"""),
    rows.Row(
        'node-exporter', "Prometheus' node_exporter: space on ``/``",
        rows.DIFFERS,
        'Take ``overlay`` off the types that it leaves out:'
        ' ``--collector.filesystem.fs-types-exclude=``, in Debian in ``ARGS``'
        ' of ``/etc/default/prometheus-node-exporter``. Telegraf has'
        ' ``ignore_fs`` for that (not tried).', f"""
{_NODE_EXPORTER.format('')}
fails grep -qF '{_METRIC}' metrics
{_NODE_EXPORTER.format("'--collector.filesystem.fs-types-exclude="
                       "^(tmpfs|devtmpfs|proc|sysfs)$'")}
grep -F '{_METRIC}' metrics
"""),
    rows.Row(
        'check-disk', "Nagios' check_disk on ``/``", rows.WORKS, '', """
/usr/lib/nagios/plugins/check_disk -w 1% -c 1% -p /
fails /usr/lib/nagios/plugins/check_disk -w 100% -c 100% -p /
"""),
    rows.Row(
        'kdump', 'kdump', rows.FAILS,
        'The server has no memory reserved for a second kernel:'
        ' ``crashkernel=`` is left out of its arguments, and'
        ' ``kdump-config load`` says so.', """
sed -i s/USE_KDUMP=0/USE_KDUMP=1/ /etc/default/kdump-tools
fails grep crashkernel= /proc/cmdline
kdump-config load > said 2>&1 || true
grep -q crashkernel said || { cat said; exit 1; }
"""),
    rows.Row(
        'hibernation', 'Hibernation', rows.FAILS,
        '``systemctl hibernate`` refuses it: there is no swap that it could'
        ' use. Suspend the server through the API.', """
fails systemctl hibernate > said 2>&1
cat said
"""),
    rows.Row(
        'aide', 'AIDE', rows.WORKS, 'reports what was changed, and nothing'
        ' more, after reboots too', _aide),
)
