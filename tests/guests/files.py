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

"""Files: what needs no package beside those of a small image."""

from tests.guests import rows

ROWS = (
    rows.Row(
        'open', 'A file of the image that is open while another process'
        ' changes it', rows.WORKS,
        'reads show the new content', rows.python("""
import os
path = '/usr/share/doc/bash/copyright'
reader = os.open(path, os.O_RDONLY)
before = os.fstat(reader)
with open(path, 'r+b') as f:
    f.write(b'changed')
assert os.pread(reader, 7, 0) == b'changed'
after = os.fstat(reader)
assert (before.st_ino, before.st_dev) == (after.st_ino, after.st_dev)
assert os.stat(path).st_ino == after.st_ino
""")),
    rows.Row(
        'tail', '``tail -f`` on a log of the image', rows.WORKS, '', """
file=/usr/share/doc/coreutils/copyright
tail -n 0 -f $file > seen & tail=$!
sleep 2
echo added >> $file
for second in 1 2 3 4 5 6 7 8; do ! grep -q added seen || break; sleep 1; done
kill $tail
grep -q added seen
"""),
    rows.Row(
        'mapping', 'A file of the image that is mapped read-only while another'
        ' process changes it', rows.DIFFERS,
        'The mapping keeps the old content if this is the first write to the'
        ' file. Open and map the file again after the first write, or have it'
        ' opened for writing once before: ``: >> FILE``.', rows.python("""
import mmap, os
path = '/usr/share/doc/dash/copyright'
def mapped():
    with open(path, 'rb') as f:
        return mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
def write(content):
    with open(path, 'r+b') as f:
        f.write(content)
old = mapped()
content = old[:7]
write(b'changed')
assert old[:7] == content
new = mapped()
assert new[:7] == b'changed'
write(b'another')
assert new[:7] == b'another'
""")),
    rows.Row(
        'mapping-shared', 'Writing by a shared mapping', rows.WORKS, '',
        rows.python("""
import mmap, os
for path in ('/usr/share/doc/diffutils/copyright', 'new'):
    if path == 'new':
        open(path, 'wb').write(bytes(9000))
    with open(path, 'r+b') as f:
        mapped = mmap.mmap(f.fileno(), 0)
        mapped[:7] = b'changed'
        mapped.flush()
    assert open(path, 'rb').read(7) == b'changed'
""")),
    rows.Row(
        'inotify', 'inotify on files and folders of the image', rows.WORKS,
        'also if the file is changed for the first time', rows.python("""
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
folder = '/usr/share/doc/dpkg'
file = folder + '/copyright'
fd = libc.inotify_init1(os.O_NONBLOCK)
MODIFY, CREATE, DELETE = 2, 0x100, 0x200
on_file = libc.inotify_add_watch(fd, file.encode(), MODIFY)
on_folder = libc.inotify_add_watch(fd, folder.encode(),
                                   MODIFY | CREATE | DELETE)
assert on_file > 0 and on_folder > 0
with open(file, 'ab') as f:
    f.write(b'changed')
open(folder + '/new', 'w').close()
os.unlink(file)
buffer, seen = os.read(fd, 65536), set()
while buffer:
    watch, mask, _cookie, length = struct.unpack_from('iIII', buffer)
    name = buffer[16:16 + length].rstrip(bytes(1)).decode()
    seen.add((watch, mask & 0xfff, name))
    buffer = buffer[16 + length:]
for event in ((on_file, MODIFY, ''), (on_folder, MODIFY, 'copyright'),
              (on_folder, CREATE, 'new'), (on_folder, DELETE, 'copyright')):
    assert event in seen, (event, seen)
""")),
    rows.Row(
        'fanotify', 'fanotify on the whole filesystem', rows.WORKS,
        'marks of mounts (``FAN_MARK_MOUNT``), as fatrace and virus'
        ' scanners set them', rows.python("""
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
NONBLOCK = 2
fd = libc.fanotify_init(NONBLOCK, os.O_RDONLY)
assert fd >= 0, os.strerror(ctypes.get_errno())
MODIFY, MARK_ADD, MARK_MOUNT = 2, 1, 0x10
code = libc.fanotify_mark(fd, MARK_ADD | MARK_MOUNT, ctypes.c_uint64(MODIFY),
                          -100, b'/')
assert code == 0, os.strerror(ctypes.get_errno())
path = '/usr/share/doc/findutils/copyright'
with open(path, 'ab') as f:
    f.write(b'changed')
event = os.read(fd, 24)
opened = struct.unpack('IBBHQii', event)[5]
assert os.readlink(f'/proc/self/fd/{opened}') == path
""")),
    rows.Row(
        'locks', '``flock`` and POSIX locks between processes, while the'
        ' file is changed for the first time', rows.WORKS, '',
        rows.python("""
import fcntl, os
path = '/usr/share/doc/gzip/copyright'
reader = os.open(path, os.O_RDONLY)
fcntl.flock(reader, fcntl.LOCK_EX)
writer = os.open(path, os.O_RDWR)
os.write(writer, b'changed')
pid = os.fork()
if not pid:
    other = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os._exit(0)
    os._exit(1)
assert os.waitpid(pid, 0)[1] == 0
fcntl.lockf(writer, fcntl.LOCK_EX)
pid = os.fork()
if not pid:
    other = os.open(path, os.O_RDWR)
    try:
        fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os._exit(0)
    os._exit(1)
assert os.waitpid(pid, 0)[1] == 0
""")),
    rows.Row(
        'hard-links', 'Hard links that the server makes', rows.WORKS, '', """
echo text > one
ln one two
echo more >> one
grep -q more two
equal 2 $(stat -c %h two)
ln /usr/share/doc/hostname/copyright three
echo changed >> three
grep -q changed /usr/share/doc/hostname/copyright
"""),
    rows.Row(
        'hard-links-of-image', 'Hard links that the image has', rows.DIFFERS,
        'A change shows under the name that was used; the other names keep the'
        " image's content. Programs that replace files, such as package"
        ' managers, notice nothing.', """
set -- $(find /run/flexmem/lower/usr/bin -samefile \
    /run/flexmem/lower/usr/bin/perl ! -name perl)
other=${1#/run/flexmem/lower}
[ -e "$other" ]
echo '# changed' >> $other
fails cmp -s /usr/bin/perl $other
"""),
    rows.Row(
        'rename', 'Renaming folders and files of the image', rows.WORKS,
        'with everything in them, and exchanging two of them', rows.python("""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
names = sorted(os.listdir('/usr/share/doc/apt'))
os.rename('/usr/share/doc/apt', '/usr/share/doc/renamed')
assert sorted(os.listdir('/usr/share/doc/renamed')) == names
assert not os.path.exists('/usr/share/doc/apt')
os.mkdir('/usr/share/doc/other')
EXCHANGE = 2
code = libc.renameat2(-100, b'/usr/share/doc/renamed',
                      -100, b'/usr/share/doc/other', EXCHANGE)
assert code == 0, os.strerror(ctypes.get_errno())
assert sorted(os.listdir('/usr/share/doc/other')) == names
os.rename('/usr/share/doc/other', '/usr/share/doc/apt')
os.rmdir('/usr/share/doc/renamed')
""")),
    rows.Row(
        'same-number', 'Inode numbers that stay when a file is changed',
        rows.WORKS, '', """
file=/usr/share/doc/passwd/copyright
before=$(stat -c '%d %i' $file)
echo changed >> $file
equal "$before" "$(stat -c '%d %i' $file)"
"""),
    rows.Row(
        'access-time', 'Times of last access', rows.DIFFERS,
        'Those of unchanged files of the image stay. Those of other files are'
        ' kept as on any server.', """
file=/usr/share/doc/sed/copyright
before=$(stat -c %X $file)
sleep 1
cat $file > /dev/null
equal "$before" "$(stat -c %X $file)"
echo text > new
touch -a -d '2020-01-01' new
cat new > /dev/null
[ $(stat -c %X new) -gt 1600000000 ]
"""),
    rows.Row(
        'attributes', '``chattr +i`` and ``+a``', rows.WORKS, '', """
for file in new /usr/share/doc/tar/copyright; do
    touch $file
    chattr +i $file
    lsattr $file | grep -q '^[^ ]*i'
    fails sh -c "echo changed >> $file"
    chattr -i $file
    chattr +a $file
    echo added >> $file
    fails sh -c "echo changed > $file"
    chattr -a $file
done
"""),
    rows.Row(
        'user-attributes', 'Extended attributes of users (``user.*``)',
        rows.WORKS, 'with ``flexmem:writes=memory`` from Linux 6.6 on',
        rows.python("""
import os
for path in ('new', '/usr/share/doc/adduser/copyright'):
    open(path, 'ab').close()
    os.setxattr(path, 'user.row', b'value')
    assert os.getxattr(path, 'user.row') == b'value'
    assert 'user.row' in os.listxattr(path)
""")),
)
