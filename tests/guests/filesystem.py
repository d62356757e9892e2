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

"""The root filesystem as a whole, and what lies on it."""

from tests.guests import rows

ROWS = (
    rows.Row(
        'o-tmpfile', '``O_TMPFILE``', rows.DIFFERS,
        'Before Linux 6.10 programs get ``EOPNOTSUPP``, and make ordinary'
        ' files. Folders that lie directly on the delta have it.',
        rows.python("""
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
FOLLOW = 0x400
def named(folder):
    fd = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(fd, b'text')
    path = f'{folder}/named'
    code = libc.linkat(-100, f'/proc/self/fd/{fd}'.encode(), -100,
                       path.encode(), FOLLOW)
    assert code == 0, os.strerror(ctypes.get_errno())
    assert open(path, 'rb').read() == b'text'
    os.unlink(path)
named('/var/lib/docker')
version = tuple(map(int, os.uname().release.split('-')[0].split('.')[:2]))
try:
    named('.')
except OSError as e:
    assert e.errno == errno.EOPNOTSUPP and version < (6, 10), e
""")),
    rows.Row(
        'o-direct', '``O_DIRECT`` on new files and files of the image',
        rows.WORKS, '', """
dd if=/dev/zero of=new bs=4096 count=16 oflag=direct status=none
dd if=new of=/dev/null bs=4096 iflag=direct status=none
dd if=/usr/bin/bash of=/dev/null bs=4096 iflag=direct status=none
cp /usr/bin/bash expected
dd if=/dev/zero of=/usr/share/doc/grep/copyright bs=4096 count=1 \
    oflag=direct conv=notrunc status=none
"""),
    rows.Row(
        'allocate', 'Holes and ``fallocate``', rows.WORKS, '', rows.python("""
import os, subprocess
with open('sparse', 'wb') as f:
    f.truncate(1 << 20)
    f.seek(1 << 19)
    f.write(b'x')
fd = os.open('sparse', os.O_RDWR)
assert os.lseek(fd, 0, os.SEEK_DATA) >= (1 << 19) - 4096
assert os.stat('sparse').st_blocks <= 16
subprocess.run(['fallocate', '-l', '4M', 'full'], check=True)
assert os.stat('full').st_blocks >= 8192
subprocess.run(['fallocate', '-p', '-o', '0', '-l', '2M', 'full'], check=True)
assert os.stat('full').st_blocks <= 4200
""")),
    rows.Row(
        'copy-file-range', '``copy_file_range``', rows.DIFFERS,
        'From unchanged files of the image it ends with ``EXDEV``, as between'
        ' filesystems. ``cp`` and other programs then read and write.',
        rows.python("""
import errno, os
def copied(source):
    reader = os.open(source, os.O_RDONLY)
    writer = os.open('copy', os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    return os.copy_file_range(reader, writer, 4096)
open('new', 'wb').write(bytes(9000))
assert copied('new') == 4096
try:
    copied('/usr/bin/bash')
except OSError as e:
    assert e.errno == errno.EXDEV, e
else:
    raise AssertionError('it was copied')
""")),
    rows.Row(
        'one-filesystem', '``tar --one-file-system``, ``cp -x``,'
        ' ``du -x`` and ``find -xdev``', rows.WORKS,
        'files of the image and new ones are on one filesystem', """
touch /etc/row-one-filesystem
tar --one-file-system -C / -cf archive etc
tar -tf archive | grep -qx etc/row-one-filesystem
tar -tf archive | grep -qx etc/passwd
equal "$(find /etc | wc -l)" "$(find /etc -xdev | wc -l)"
mkdir copy
cp -ax /etc/. copy
cmp /etc/passwd copy/passwd
"""),
    rows.Row(
        'special-files', 'FIFOs, sockets and device nodes', rows.DIFFERS,
        'All work but the character device 0, 0, which is the mark of a'
        ' deleted file. Folders that lie directly on the delta can have it.',
        """
mkfifo fifo
echo text > fifo &
equal text "$(cat fifo)"
mknod null c 1 3
echo text > null
fails mknod deleted c 0 0 2> /dev/null
python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('socket')"
[ -S socket ]
"""),
    rows.Row(
        'file-handles', 'File handles (``name_to_handle_at``)', rows.FAILS,
        'Programs get ``EOPNOTSUPP``, as on other overlays. Use a folder'
        ' that lies directly on the delta.', rows.python("""
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def handle(path):
    buffer = ctypes.create_string_buffer(136)
    ctypes.c_uint.from_buffer(buffer).value = 128
    mount = ctypes.c_int()
    return libc.name_to_handle_at(-100, path, buffer, ctypes.byref(mount), 0)
assert handle(b'/etc/passwd') == -1
assert ctypes.get_errno() == errno.EOPNOTSUPP
assert handle(b'/run/flexmem/delta') == 0
""")),
    rows.Row(
        'loop', 'Filesystems in files (``mount -o loop``)', rows.WORKS,
        '', """
truncate -s 16M disk
mkfs.ext4 -q disk
mkdir mounted
mount -o loop disk mounted
echo text > mounted/file
umount mounted
"""),
    rows.Row(
        'swap-file', 'A swap file', rows.DIFFERS,
        'Make it in a folder that you name in ``/etc/flexmem/direct``, for'
        ' example ``/var/swap``; swap files cannot be on an overlay.', """
for file in /var/lib/docker/swap swap; do
    fallocate -l 8M $file
    chmod 600 $file
    mkswap -q $file
done
fails swapon swap 2> /dev/null
swapon /var/lib/docker/swap
grep -q /var/lib/docker/swap /proc/swaps
swapoff /var/lib/docker/swap
rm /var/lib/docker/swap
"""),
    rows.Row(
        'freeze', '``fsfreeze``', rows.DIFFERS,
        'Freeze ``/run/flexmem/delta`` in place of ``/``: an overlay'
        ' cannot be frozen, its delta can.', """
fails fsfreeze --freeze / 2> /dev/null
fsfreeze --freeze /run/flexmem/delta
sh -c 'echo text > new; touch /run/written' & writer=$!
sleep 2
fails test -e /run/written
fsfreeze --unfreeze /run/flexmem/delta
wait $writer
rm /run/written
"""),
    rows.Row(
        'id-mapped', 'Mounts with other owners (id-mapped mounts)',
        rows.DIFFERS,
        'Only of folders that lie directly on the delta. Containers with user'
        ' namespaces keep their files there.', rows.python("""
import ctypes, errno, os, subprocess
libc = ctypes.CDLL(None, use_errno=True)
sleeper = subprocess.Popen(['unshare', '--user', 'sleep', '60'])
import time; time.sleep(1)
for name in 'uid_map', 'gid_map':
    with open(f'/proc/{sleeper.pid}/{name}', 'w') as f:
        f.write('0 100000 65536')
namespace = os.open(f'/proc/{sleeper.pid}/ns/user', os.O_RDONLY)
OPEN_TREE, MOUNT_SETATTR, CLONE, IDMAP = 428, 442, 1, 0x100000
def idmap(path):
    tree = libc.syscall(OPEN_TREE, -100, path, CLONE)
    assert tree >= 0, os.strerror(ctypes.get_errno())
    attributes = (ctypes.c_uint64 * 4)(IDMAP, 0, 0, namespace)
    return libc.syscall(MOUNT_SETATTR, tree, b'', 0x1000,
                        ctypes.byref(attributes), 32)
try:
    assert idmap(b'/var/lib/docker') == 0, os.strerror(ctypes.get_errno())
    assert idmap(b'/root') == -1
finally:
    sleeper.kill()
""")),
    rows.Row(
        'free-space', '``df /``, and space that comes back', rows.WORKS,
        'The delta is what counts; deleting files of the image frees no'
        ' space.',
        """
before=$(df --output=avail / | tail -n 1)
dd if=/dev/zero of=new bs=1M count=32 status=none
sync
[ $((before - $(df --output=avail / | tail -n 1))) -ge 32000 ]
rm new
sync
[ $((before - $(df --output=avail / | tail -n 1))) -le 1000 ]
"""),
)
