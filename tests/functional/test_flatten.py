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

"""An instance's changes in an ordinary image: as the guest saw them.

One guest of a real image, and the other layouts of disks in the appliance,
where the kernel's own overlay makes the deltas.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile

import testtools

from nova_flexmem.guest import delta
from nova_flexmem.image import appliance
from nova_flexmem import process
from tests.functional import harness
from tests.functional import small_image

MIB = 1 << 20

_DIRECT = '/var/lib/docker'

#: What a guest may do to the files of its image.
_CHANGE = '''\
set -e
touch /etc/cloud/cloud-init.disabled
mkdir -p /srv/new/deep "$(printf '/srv/new/odd \\n\\303\\244\\377')"
echo content > /srv/new/deep/file
ln /srv/new/deep/file /srv/new/link
ln -s ../nowhere /srv/new/symlink
mkfifo -m 0620 /srv/new/fifo
truncate -s 100M /srv/new/sparse
echo end >> /srv/new/sparse
cp /bin/true /srv/new/true
chown 1000:1001 /srv/new/deep; chmod 2750 /srv/new/deep
rm -rf /usr/share/doc/apt /usr/share/common-licenses/GPL-3
rm -rf /etc/vim; mkdir /etc/vim; echo own > /etc/vim/vimrc
rm -rf /etc/skel; echo a file > /etc/skel
rm /etc/issue.net; mkdir /etc/issue.net
mv /usr/share/doc/bash /usr/share/doc/bash-moved
mkdir /opt/deep
mv /usr/share/doc/sudo /opt/deep/sudo
mkdir /usr/share/doc/sudo
rm /opt/deep/sudo/copyright
mv /usr/share/perl5 /opt/perl5
mv /opt/perl5/Debconf /usr/share/debconf-moved
mv /opt/perl5 /usr/share/perl5
echo '# changed' >> /usr/bin/perlbug
mv /usr/bin/perl /usr/bin/perl-moved
printf end >> /usr/bin/perl-moved
chmod 0700 /usr/share/doc/tar
chown 1:1 /usr/bin/passwd; chmod 4755 /usr/bin/passwd
echo '/dev/disk/by-label/none /mnt ext4 noauto 0 0' >> /etc/fstab
mkdir -p /var/lib/docker/layer
mknod /var/lib/docker/layer/whiteout c 0 0
python3 - <<'EOF'
import os, struct
os.setxattr('/srv/new/true', 'security.capability',
            struct.pack('<IIIII', 0x02000001, 1 << 13, 0, 0, 0))
os.setxattr('/srv/new/deep', 'user.colour', b'red')
os.setxattr('/srv/new/symlink', 'trusted.note', b'link',
            follow_symlinks=False)
os.setxattr('/etc/issue', 'user.image', b'changed')
os.setxattr('/var/lib/docker/layer', 'trusted.overlay.opaque', b'y')
# rwx for user 7: see acl(5) and linux/posix_acl_xattr.h
os.setxattr('/srv/new/link', 'system.posix_acl_access', struct.pack(
    '<I' + 'HHI' * 5, 2, 1, 6, 0xffffffff, 2, 7, 7, 4, 4, 0xffffffff,
    0x10, 7, 0xffffffff, 0x20, 4, 0xffffffff))
EOF
chattr +i /srv/new/true
update-grub
'''

#: Writes down all files, large ones by both ends; of what no boot changes by
#: itself. The fstab and GRUB's menu are the image's own matter, the EFI
#: partition has no modes, and the top of a filesystem belongs to it.
_MANIFEST = '''\
import hashlib, os, stat, sys
END = 1 << 16
NOISE = {b'/proc', b'/sys', b'/dev', b'/run', b'/tmp', b'/var/tmp',
         b'/var/log', b'/var/cache', b'/var/lib/systemd', b'/boot/efi',
         b'/lost+found', b'/var/lib/cloud', b'/root/manifest',
         b'/etc/fstab', b'/boot/grub/grub.cfg', b'/var/lib/private'}
def describe(path):
    s = os.lstat(path)
    kind = stat.S_IFMT(s.st_mode)
    facts = [oct(s.st_mode), s.st_uid, s.st_gid, s.st_rdev, sorted(
        (n, os.getxattr(path, n, follow_symlinks=False).hex())
        for n in os.listxattr(path, follow_symlinks=False))]
    if path != b'/':
        facts.append(s.st_mtime_ns)
    if kind == stat.S_IFREG:
        with open(path, 'rb') as f:
            digest = hashlib.blake2b(f.read(END))
            f.seek(max(END, s.st_size - END))
            digest.update(f.read())
        facts += [s.st_size, s.st_nlink, digest.hexdigest()[:32]]
    elif kind == stat.S_IFLNK:
        facts.append(os.readlink(path))
    return repr(facts)
open('/root/manifest', 'a').close()
lines = set()
def walk(path):
    if path in NOISE:
        return
    lines.add(f'{path} {describe(path)}')
    if stat.S_ISDIR(os.lstat(path).st_mode):
        for name in os.listdir(path):
            walk(os.path.join(path, name))
walk(b'/')
if sys.argv[1] == 'write':
    with open('/root/manifest', 'w') as f:
        f.write('\\n'.join(sorted(lines)))
    print(len(lines))
else:
    with open('/root/manifest') as f:
        before = set(f.read().split('\\n'))
    for line in sorted(before - lines):
        print('-', line)
    for line in sorted(lines - before):
        print('+', line)
'''


def _command(store, *words):
    return subprocess.run(
        [sys.executable, '-m', 'nova_flexmem.cmd.main', '--store', store.path,
         'image', 'flatten', *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _manifest(action):
    return f"cat > /run/manifest.py <<'EOF'\n{_MANIFEST}EOF\n" \
           f'python3 /run/manifest.py {action}'


def _menu(guest):
    """Return the lines of GRUB's menu, a list.

    Without those for the partition table: where the guest wrote its menu, on
    FlexMem, there is none.
    """
    lines = guest.output('cat /boot/grub/grub.cfg').splitlines()
    return [line.rstrip() for line in lines if 'insmod part_' not in line]


class FlattenGuestTest(harness.GuestTestCase):
    """A guest's changes, in an image that boots by itself."""

    layout = 'ext4'

    def test_flattened_image_is_what_the_guest_saw(self):
        guest = self.start(self.launcher.flexmem(
            'changing', self.boot, direct_paths=(_DIRECT,)))
        self.assertEqual([], guest.system_state().failed_units)
        fstab = guest.output('cat /etc/fstab')
        self.assertIn('# flexmem: ', fstab)
        guest.output(_CHANGE)
        uuid = guest.output('findmnt -no UUID /run/flexmem/delta').strip()
        self.assertIn(uuid, guest.output('cat /boot/grub/grub.cfg'))
        self.assertGreater(int(guest.output(_manifest('write'))), 10000)
        guest.power_off(timeout_s=600)

        disk = os.path.join(self.folder, 'changing', 'disk')
        self._check_another_image(disk)
        out = os.path.join(self.folder, 'flat.raw')
        done = _command(self.store, self.image, disk, out, '--disk-format',
                        'raw', '--direct-paths', _DIRECT, '-f', 'json')
        self.assertEqual(0, done.returncode, done.stderr)
        shown = json.loads(done.stdout)
        self.assertEqual([], shown['unclear_hard_links'])
        self.assertEqual([out, 'raw', 4096], [
            shown[name] for name in ('path', 'format', 'virtual_size_mib')])
        self.assert_base_unchanged()

        flat = self.start(self.launcher.stock('flat', out))
        self.assertEqual('', flat.output(_manifest('compare')))
        self.assertEqual([], flat.system_state().failed_units)
        fstab = flat.output('cat /etc/fstab')
        self.assertNotIn('flexmem', fstab)
        self.assertIn('/dev/disk/by-label/none /mnt', fstab)
        self.assertEqual('vfat\n', flat.output(
            'findmnt -no FSTYPE /boot/efi'))
        self.assertNotIn(uuid, flat.output('cat /boot/grub/grub.cfg'))
        self.assertIn('i', flat.output('lsattr /srv/new/true').split()[0])
        before = _menu(flat)
        flat.output('update-grub')
        self.assertEqual(before, _menu(flat))
        flat.output('umount /boot/efi && mount /boot/efi')

    def _check_another_image(self, disk):
        """A delta knows what it lies on."""
        other, out = self.raw_image(), os.path.join(self.folder, 'other')
        done = _command(self.store, other, disk, out)
        self.assertEqual(1, done.returncode)
        self.assertIn(f'{other}: {disk} does not say that it lies on this'
                      ' image', done.stderr)
        self.assertFalse(os.path.exists(out))


#: Layouts of disks: size in MiB, guestfish commands that make and mount one,
#: its fstab.
_LAYOUTS = {
    'lvm': (
        96, (('part-init', '{disk}', 'gpt'),
             ('part-add', '{disk}', 'p', '2048', '67583'),
             ('part-add', '{disk}', 'p', '67584', '-2048'),
             ('mkfs', 'ext4', '{disk}1'),
             ('pvcreate', '{disk}2'), ('vgcreate', 'group', '{disk}2'),
             ('lvcreate-free', 'root', 'group', '100'),
             ('mkfs', 'ext4', '/dev/group/root'),
             ('mount', '/dev/group/root', '/'),
             ('mkdir', '/boot'), ('mount', '{disk}1', '/boot')),
        '/dev/mapper/group-root / ext4 defaults 0 1\n'
        '/dev/vda1 /boot ext4 defaults 0 2\n'),
    'btrfs': (
        160, (('part-disk', '{disk}', 'gpt'),
              ('mkfs', 'btrfs', '{disk}1', 'label:root'),
              ('mount', '{disk}1', '/'),
              ('btrfs-subvolume-create', '/@'),
              ('btrfs-subvolume-create', '/@var'),
              ('umount', '/'),
              ('mount-options', 'subvol=@', '{disk}1', '/'),
              ('mkdir', '/var'),
              ('mount-options', 'subvol=@var', '{disk}1', '/var')),
        'LABEL=root / btrfs subvol=@ 0 0\n'
        'LABEL=root /var btrfs subvol=@var 0 0\n'),
    'xfs': (
        320, (('part-disk', '{disk}', 'mbr'),
              ('mkfs', 'xfs', '{disk}1', 'label:root'),
              ('mount', '{disk}1', '/')),
        'LABEL=root / xfs defaults 0 0\n'),
    'plain': (
        48, (('part-disk', '{disk}', 'gpt'),
             ('mkfs', 'ext4', '{disk}1'),
             ('mount', '{disk}1', '/')),
        '/dev/vda1 / ext4 defaults 0 1\n')}

_DELTA_BYTES = 256 * MIB

#: What is in the images beyond small_image's files.
_FILL = '''\
cd /sysroot
mkdir -p usr/lib/tree/inner var/lib/app/data srv
echo one > usr/lib/tree/one
echo two > usr/lib/tree/inner/two
echo state > var/lib/app/data/state
echo linked > usr/lib/name; ln usr/lib/name usr/lib/other-name
echo linked > usr/lib/first; ln usr/lib/first usr/lib/second
# three names tell it from the others, when both are found elsewhere
echo linked > var/lib/name; ln var/lib/name var/lib/other-name
ln var/lib/name var/lib/third-name
setfattr -n user.colour -v red usr/lib/tree
'''

#: An overlay as a guest's /init makes it, of a copy of the image's tree. It is
#: never unmounted: to the delta that is a power cut.
_OVERLAY = '''\
cd /tmp
mkdir -p {name}/base {name}/delta {name}/root
truncate -s 100M {name}.base
mke2fs -q -F -t ext4 {name}.base
mount -o loop {name}.base {name}/base
cp -a /sysroot/. {name}/base
mount -t ext4 {delta} {name}/delta
mkdir {name}/delta/upper {name}/delta/work
modprobe overlay
mount -t overlay -o lowerdir={name}/base,upperdir={name}/delta/upper,\
workdir={name}/delta/work,redirect_dir=on,index=on overlay {name}/root
cd {name}/root
{changes}
sync
'''

_CHANGES = '''\
# within, out of and into what the image has on other filesystems
mv usr/lib/tree srv/moved
mv srv/moved/inner usr/lib/inner
mkdir usr/lib/tree; echo own > usr/lib/tree/own
mv var/lib/app usr/lib/app
mv usr/lib/app/data var/lib/data
echo two >> usr/lib/inner/two
echo more >> usr/lib/name
mv usr/lib/first usr/third; echo more >> usr/third
mv var/lib/name srv/name; echo more >> srv/name
echo kernel > boot/vmlinuz-new; chmod 0600 boot/vmlinuz-new
rm -r usr/share
setfattr -x user.colour srv/moved
setfattr -n user.size -v large srv
'''

#: All that is to be the same, a line each; a link to another filesystem can't.
_LIST = '''\
cd {top}
find . -mindepth 1 -name lost+found -prune -o \
    -mindepth 1 -printf '%P %y %m %U:%G %l %T@\\n' | sort
find . -type f -print0 | sort -z | xargs -0 sha256sum
find usr -type f -links +1 -printf '%n %P\\n' | sort
getfattr -R -P -d -m 'user\\.' .
'''


class _LayoutsTestCase(testtools.TestCase):
    """Has an image and a delta of each of some layouts, made in the appliance.

    :cvar names: of _LAYOUTS
    """

    names: tuple[str, ...]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for program in ('guestfish', 'qemu-img', 'mke2fs'):
            if not process.available(program):
                raise cls.skipException(f'{program} is not installed')
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory(
            prefix='flexmem-flatten-', dir='/var/tmp'))
        cls.store = harness.new_store(cls.folder)
        drives = []
        for name in cls.names:
            size_mib, _commands, _fstab = _LAYOUTS[name]
            with open(cls.path(f'{name}.raw'), 'xb') as f:
                f.truncate(size_mib * MIB)
            delta.create(cls.path(f'{name}.delta'), _DELTA_BYTES)
            drives += [cls.drive(f'{name}.raw', name),
                       cls.drive(f'{name}.delta', f'{name}delta')]
        with cls.appliance(drives) as guest:
            cls.seen = {name: cls._make(guest, name) for name in cls.names}

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder, name)

    @classmethod
    def drive(cls, name, label, readonly=False):
        return appliance.Drive(cls.path(name), 'raw', readonly, label)

    @classmethod
    def appliance(cls, drives):
        return appliance.Appliance(
            cls.store.folder('appliance'), drives, timeout_s=900,
            file_size_bytes=1 << 30)

    @classmethod
    def _make(cls, guest, name):
        """Make an image and a delta; return what an instance saw."""
        _size_mib, commands, fstab = _LAYOUTS[name]
        for words in commands:
            guest.command(*(word.format(disk=f'/dev/disk/guestfs/{name}')
                            for word in words))
        cls._unpack(guest, small_image.GOOD | {
            '/etc/fstab': fstab.encode()})
        guest.shell(_FILL)
        changes = _CHANGES
        if name == 'plain':
            changes += 'dd if=/dev/urandom of=srv/large bs=1M count=64\n'
        guest.shell(_OVERLAY.format(
            name=name, changes=changes,
            delta=f'/dev/disk/guestfs/{name}delta'))
        seen = guest.shell(_LIST.format(top=f'/tmp/{name}/root'))
        guest.command('umount-all')
        return seen

    @classmethod
    def _unpack(cls, guest, files):
        for path, content in files.items():
            with open(cls.path('passing'), 'wb') as f:
                f.write(content)
            guest.command('mkdir-p', os.path.dirname(path))
            guest.command('upload', cls.path('passing'), path)

    def flatten(self, name, *words, out=None, delta_name=None):
        with open(self.path(f'{name}.raw'), 'rb') as f:
            sha256 = hashlib.file_digest(f, 'sha256').hexdigest()
        return _command(
            self.store, self.path(f'{name}.raw'),
            self.path(delta_name or f'{name}.delta'),
            out or self.path(f'{name}.out'), '--disk-format', 'raw',
            '--image-sha256', sha256, *words)

    def assert_refused(self, done, *causes):
        self.assertEqual(1, done.returncode, done.stdout)
        self.assertEqual('', done.stdout)
        for cause in causes:
            self.assertIn(cause, done.stderr.splitlines()[-1])
        self.assertEqual([], [name for name in os.listdir(self.folder)
                              if '.out' in name])

    def assert_flattened(self, sizes):
        """Check that the flattened disks hold what the instances saw.

        :param sizes: {name of a layout: options of its size}
        """
        for name, words in sizes.items():
            done = self.flatten(name, *words)
            self.assertEqual(0, done.returncode, done.stderr)
            self.addCleanup(os.remove, self.path(f'{name}.out'))
        with self.appliance([self.drive(f'{name}.out', name)
                             for name in sizes]) as guest:
            for name in sizes:
                for words in _LAYOUTS[name][1]:
                    if words[0].startswith(('mount', 'umount')):
                        guest.command(*(word.format(
                            disk=f'/dev/disk/guestfs/{name}')
                            for word in words))
                self.assertEqual(self.seen[name], guest.shell(
                    _LIST.format(top='/sysroot')), name)
                if sizes[name]:
                    size_mib = int(sizes[name][1].removesuffix('MiB'))
                    blocks = int(guest.shell(
                        "stat -f -c '%b * %S / 1048576' /sysroot | {"
                        ' read -r sum; echo $(($sum)); }')[0])
                    self.assertGreater(blocks, size_mib * 0.8, name)
                guest.command('umount-all')


class FlattenTest(_LayoutsTestCase):
    """The simplest layout, and what must be refused."""

    names = ('plain',)

    def test_grows(self):
        full = self.flatten('plain')
        self.assert_refused(full, "no space left in the image's filesystem"
                            ' at /;', '--size')
        self.assert_flattened({'plain': ('--size', '200MiB')})

    def test_delta_that_is_none(self):
        with open(self.path('empty'), 'xb') as f:
            f.truncate(MIB)
        self.assert_refused(self.flatten('plain', delta_name='empty'),
                            self.path('empty'), 'no filesystem')
        delta.create(self.path('fresh'), _DELTA_BYTES)
        self.assert_refused(self.flatten('plain', delta_name='fresh'),
                            self.path('fresh'), 'no upper layer')

    def test_delta_with_backing_file(self):
        process.run('qemu-img', 'create', '-q', '-f', 'qcow2', '-F', 'raw',
                    '-b', '/etc/passwd', self.path('backed'), '1M',
                    timeout_s=60)
        self.assert_refused(self.flatten('plain', delta_name='backed'),
                            self.path('backed'), 'backing file')

    def test_other_digest(self):
        done = _command(self.store, self.path('plain.raw'),
                        self.path('plain.delta'), self.path('x.out'),
                        '--image-sha256', 64 * 'a')
        self.assert_refused(done, self.path('plain.raw'), 64 * 'a',
                            'flexmem_base_image')

    def test_full_disk(self):
        if os.geteuid() != 0:
            self.skipTest('needs root, to mount a small filesystem')
        small = tempfile.mkdtemp(dir=self.folder)
        subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=10m', 'test',
                        small], check=True)
        self.addCleanup(subprocess.run, ['umount', '--lazy', small],
                        check=True)
        self.assert_refused(
            self.flatten('plain', out=os.path.join(small, 'disk')),
            f'{small} has 0.01 GiB free')
        self.assertEqual([], os.listdir(small))


class FlattenLayoutsTest(_LayoutsTestCase):

    names = ('lvm', 'btrfs', 'xfs')

    def test_layouts(self):
        self.assertIn('needs_recovery', process.run(
            'dumpe2fs', '-h', self.path('lvm.delta'), timeout_s=60))
        self.assert_flattened({'lvm': (), 'btrfs': ('--size', '300MiB'),
                               'xfs': ('--size', '500MiB')})

    def test_lvm_does_not_grow(self):
        self.assert_refused(self.flatten('lvm', '--size', '200MiB'),
                            self.path('lvm.raw'), 'cannot grow')
