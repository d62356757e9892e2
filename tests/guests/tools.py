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

"""Programs of Debian's packages that look closely at files."""

import base64

from tests.guests import rows

PACKAGES = (
    'acl', 'aide', 'apparmor', 'auditd', 'criu', 'kdump-tools', 'libcap2-bin',
    'lmdb-utils', 'monitoring-plugins-basic', 'needrestart',
    'nfs-kernel-server', 'plocate', 'prometheus-node-exporter', 'python3-lmdb',
    'quota', 'rpm', 'sqlite3')

#: Databases that the image has.
_DATABASES = '''
import lmdb, sqlite3
for name in 'first', 'second':
    with lmdb.open(f'/srv/{name}.lmdb', map_size=1 << 20) as env:
        with env.begin(write=True) as t:
            t.put(b'key', b'old')
db = sqlite3.connect('/srv/sqlite.db')
db.execute('PRAGMA journal_mode=WAL')
db.execute('CREATE TABLE t (value TEXT)')
db.execute("INSERT INTO t VALUES ('old')")
db.commit()
'''

FINISH = (
    ('sh', f'echo {base64.b64encode(_DATABASES.encode()).decode()} |'
     ' base64 -d | python3'),
    ('sh', 'rpm --initdb'))

ROWS = (
    rows.Row(
        'acl', 'ACLs', rows.WORKS, 'of new files and files of the image', """
for file in new /usr/share/doc/acl/copyright; do
    touch $file
    setfacl -m u:1000:rw $file
    getfacl -cp $file | grep -qx user:1000:rw-
done
mkdir folder
setfacl -d -m u:1000:rwx folder
touch folder/file
getfacl -cp folder/file | grep -q ^user:1000:
"""),
    rows.Row(
        'capabilities', 'File capabilities', rows.WORKS,
        'also of programs of the image that are changed', """
cp /usr/bin/cat program
setcap cap_net_raw+ep program
equal 'program cap_net_raw=ep' "$(getcap program)"
before=$(getcap /usr/bin/ping)
[ -n "$before" ]
touch /usr/bin/ping
equal "$before" "$(getcap /usr/bin/ping)"
"""),
    rows.Row(
        'quota', 'Disk quotas of users', rows.DIFFERS,
        'Name the folder, for example ``/home``, in'
        ' ``/etc/flexmem/direct``, and switch quotas of'
        ' ``/run/flexmem/delta`` on. Elsewhere nothing is limited, because'
        ' overlayfs writes in the name of root.', """
delta=/run/flexmem/delta
modprobe quota_v2
mount -o remount,usrquota $delta
quotacheck -cum $delta
quotaon $delta
setquota -u 1000 1000 2000 0 0 $delta
write() {
    setpriv --reuid 1000 --clear-groups dd if=/dev/zero of=$1 bs=1M count=8 \
        status=none
}
mkdir -p /var/lib/docker/quota /var/tmp/quota
chmod 711 /var/lib/docker
chown 1000 /var/lib/docker/quota /var/tmp/quota
fails write /var/lib/docker/quota/new 2> /dev/null
write /var/tmp/quota/new
quotaoff $delta
rm -r /var/lib/docker/quota /var/tmp/quota $delta/aquota.user
"""),
    rows.Row(
        'nfs', 'Exporting folders by NFS', rows.DIFFERS,
        'Export folders that lie directly on the delta; ``exportfs`` refuses'
        ' others.', """
systemctl start nfs-server
mkdir -p exported mounted /var/lib/docker/exported
options=rw,no_root_squash,no_subtree_check
fails exportfs -o $options 127.0.0.1:$folder/exported 2> refused
grep -q 'does not support NFS export' refused
exportfs -o $options 127.0.0.1:/var/lib/docker/exported
mount -t nfs 127.0.0.1:/var/lib/docker/exported mounted
echo text > mounted/file
umount mounted
equal text "$(cat /var/lib/docker/exported/file)"
exportfs -ua
systemctl stop nfs-server
rm -r /var/lib/docker/exported
"""),
    rows.Row(
        'lmdb', 'LMDB databases in the image, with a process that only reads',
        rows.DIFFERS,
        'If a process has opened the database read-only before the first'
        ' write, it sees the old content until it opens the database again.'
        ' Run ``touch`` on ``data.mdb`` before: in a unit with'
        ' ``ExecStartPre``, for example. New databases are not affected.',
        """
cat > reader.py << 'END'
import lmdb, os, sys, time
env = lmdb.open(sys.argv[1], readonly=True)
def value():
    with env.begin() as t:
        return t.get(b'key').decode()
print(value(), flush=True)
while not os.path.exists('written'):
    time.sleep(0.2)
print(value())
END
cat > writer.py << 'END'
import lmdb, sys
with lmdb.open(sys.argv[1], map_size=1 << 20) as env:
    with env.begin(write=True) as t:
        t.put(b'key', b'new')
END
seen() {
    rm -f written
    python3 reader.py $1 > seen & reader=$!
    until grep -q old seen; do sleep 1; done
    python3 writer.py $1
    touch written
    wait $reader
    equal "$2" "$(echo $(cat seen))"
}
seen /srv/first.lmdb 'old old'
touch /srv/second.lmdb/data.mdb
seen /srv/second.lmdb 'old new'
"""),
    rows.Row(
        'sqlite', 'SQLite databases in the image, with a process that reads'
        ' meanwhile', rows.WORKS, 'in WAL mode too', rows.python("""
import sqlite3, subprocess
reader = sqlite3.connect('/srv/sqlite.db')
def values():
    return [value for value, in reader.execute('SELECT value FROM t')]
assert values() == ['old']
subprocess.run(['sqlite3', '/srv/sqlite.db', "UPDATE t SET value = 'new'"],
               check=True)
assert values() == ['new']
assert reader.execute('PRAGMA integrity_check').fetchone() == ('ok',)
""")),
    rows.Row(
        'rpm', 'rpm, with its database in the image', rows.WORKS, '', """
cat > row.spec << 'END'
Name: row
Version: 1
Release: 1
Summary: A row
License: none
BuildArch: noarch
%description
%install
mkdir -p %{buildroot}/opt/row
echo text > %{buildroot}/opt/row/file
%files
/opt/row/file
END
rpmbuild -bb --define "_topdir $folder" row.spec > log 2>&1
rpm -i --nodeps RPMS/noarch/row-1-1.noarch.rpm
equal row-1-1.noarch "$(rpm -qa)"
rpm -V row
echo changed > /opt/row/file
fails rpm -V row > changes
grep -q /opt/row/file changes
rpm -e row
equal '' "$(rpm -qa)"
"""),
    rows.Row(
        'criu', 'CRIU: a process that is frozen and goes on', rows.WORKS, '',
        """
setsid sh -c 'exec 3< /usr/share/doc/util-linux/copyright
    exec > /dev/null 2>&1 < /dev/null; exec sleep 1000' &
sleep 1
pid=$(pgrep -f '^sleep 1000')
mkdir images
criu dump -t $pid -D images > log 2>&1 || { tail -n 5 log; exit 1; }
fails kill -0 $pid 2> /dev/null
criu restore -d -D images >> log 2>&1 || { tail -n 5 log; exit 1; }
kill $pid
"""),
    rows.Row(
        'apparmor', 'AppArmor profiles with paths', rows.WORKS, '', """
aa-enabled -q
cp /usr/bin/cat program
cat > profile << END
$folder/program {
  file,
  deny /etc/shadow r,
}
END
apparmor_parser -r profile
./program /etc/passwd > /dev/null
fails ./program /etc/shadow 2> refused
grep -q 'Permission denied' refused
apparmor_parser -R profile
"""),
)
