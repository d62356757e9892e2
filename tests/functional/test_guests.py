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

"""Guests of real images: from the upload to a base, boots, writes, cuts."""

import os
import tempfile
import time

from oslo_utils import units
from testtools import content

from nova_flexmem.build import handover
from nova_flexmem.build import initramfs
from nova_flexmem.demo import cache
from nova_flexmem.demo import hypervisor
from nova_flexmem.demo import launcher
from nova_flexmem import exception
from nova_flexmem.host import memory
from nova_flexmem.image import appliance
from nova_flexmem.image import foldertree
from nova_flexmem.image import kernel as kernel_module
from nova_flexmem import process
from nova_flexmem.store import basefiles
from tests.functional import aptrepo
from tests.functional import harness
from tests.guests import groups
from tests.guests import rows

_DIRECT_PATHS = ('/var/lib/docker', '/etc/direct')

#: What a container engine asks of the filesystem below it.
_NESTED_OVERLAY = '''\
set -e
cd {folder}
mkdir -p lower upper work merged
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged
echo written > merged/file
grep -q written upper/file
umount merged
'''

#: Two layers of a container, as its engine leaves them in an image.
_MAKE_LAYERS = '''\
mkdir -p /sysroot/var/lib/docker/layers
cd /sysroot/var/lib/docker/layers
mkdir -p lower/folder upper/folder
touch lower/gone lower/kept lower/folder/hidden upper/folder/new
mknod upper/gone c 0 0
setfattr -n trusted.overlay.opaque -v y upper/folder
ln lower/kept lower/same
chown 7:8 lower/kept
chmod 0710 upper/folder
'''

_MOUNT_LAYERS = '''\
set -e
cd /var/lib/docker/layers
test lower/kept -ef lower/same
mkdir top work merged
mount -t overlay overlay \
    -o lowerdir=upper:lower,upperdir=top,workdir=work merged
find merged/* -printf '%p %y %m %U:%G\\n' | sort
umount merged
'''

_LAYERS = '''\
merged/folder d 710 0:0
merged/folder/new f 644 0:0
merged/kept f 644 7:8
merged/same f 644 7:8
'''

_WRITE = '''\
set -e
mkdir -p /root/{name} /var/lib/docker/{name}
cp -a /usr/share/common-licenses /etc/passwd /root/{name}
echo changed >> /etc/issue
rm -f /usr/share/common-licenses/{removed}
cd /root/{name}
find . -type f | sort | xargs sha256sum > /root/{name}.sums
echo {name} > /var/lib/docker/{name}/file
sync
'''

_READ = '''\
set -e
cd /root/{name}
sha256sum --quiet -c /root/{name}.sums
grep -q {name} /var/lib/docker/{name}/file
grep -q changed /etc/issue
test ! -e /usr/share/common-licenses/{removed}
'''

_OVERWRITE = '''\
blockdev --setrw /dev/pmem0
mount -o remount,rw /run/flexmem/lower
dd if=/dev/zero of=/dev/pmem0 bs=1M count=64 conv=fsync
echo dd: $?
'''

_UPGRADE = f'''\
set -e
mount -o ro LABEL={aptrepo.VOLUME} /mnt
echo '{aptrepo.SOURCE}' > /etc/apt/sources.list
rm -f /etc/apt/sources.list.d/*
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -q -y --with-new-pkgs upgrade
apt-get -q -y upgrade | grep '^0 upgraded, 0 newly installed'
dpkg --audit
update-grub
'''


_WAIT_FOR_FLUSH = '''\
until [ "$(systemctl show --value -p ExecMainExitTimestampMonotonic \
           flexmem-flush.service)" -gt 0 ]; do sleep 1; done
'''


_WAIT_FOR_SUCCESS = '''\
until [ "$(systemctl show --value -p ExecMainExitTimestampMonotonic \
           flexmem-kernel.service)" -gt 0 ]; do sleep 1; done
'''

_USER_DATA = """#cloud-config
bootcmd: [touch /run/config-drive-was-read]
"""


class LifeTest:
    """What holds for every image; the classes below say which."""

    def test_life(self):
        stock = self.start(self.launcher.stock('stock', self.raw_image()))
        stock_state = stock.system_state()
        stock.destroy()
        guest = self.start(self.launcher.flexmem(
            'guest', self.boot, direct_paths=_DIRECT_PATHS))
        state = guest.system_state()
        self.assertEqual(stock_state, state)
        self._check_mounts(guest)

        first = {'name': 'first', 'removed': 'GPL-2'}
        second = {'name': 'second', 'removed': 'GPL-3'}
        guest.output(_WRITE.format(**first))
        guest.reboot()
        guest.output(_READ.format(**first))
        guest.output(_WRITE.format(**second))
        guest.cut_power()
        guest.start()
        guest.wait_shell()
        guest.output(_READ.format(**first))
        guest.output(_READ.format(**second))
        self.assertEqual(stock_state, guest.system_state())
        self.assert_base_unchanged()

    def _check_mounts(self, guest):
        mounts = {line.split()[1]: line.split() for line in
                  guest.output('cat /proc/mounts').splitlines()}
        lower = mounts['/run/flexmem/lower']
        self.assertEqual(['/dev/pmem0', self.base.manifest.rootfs],
                         [lower[0], lower[2]])
        self.assertIn('dax=always', lower[3].split(','))
        self.assertIn('ro', lower[3].split(','))
        self.assertEqual('overlay', mounts['/'][2])
        self.assertEqual('ext4', mounts['/run/flexmem/delta'][2])
        self.assertEqual('ext4', mounts['/var/lib/docker'][2])
        guest.output('test -x /run/flexmem/lower/bin/sh'
                     ' && test -d /run/flexmem/delta/upper/etc')
        code, said = guest.run('setpriv --reuid=65534 --clear-groups'
                               ' ls /run/flexmem')
        self.assertNotEqual(0, code, said)


class LayersTestCase(harness.GuestTestCase):
    """Has an image with a container's layers in it."""

    @classmethod
    def make_image(cls):
        below = super().make_image()

        def make(folder):
            path = os.path.join(folder, 'layers.qcow2')
            process.run('qemu-img', 'create', '-q', '-f', 'qcow2',
                        '-F', 'qcow2', '-b', below, path, timeout_s=60)
            drive = appliance.Drive(path, 'qcow2', False, 'image')
            with appliance.Appliance(
                    cls.store.folder('appliance'), [drive], timeout_s=900,
                    file_size_bytes=units.Gi, below=(below,)) as a:
                a.command('mount', '/dev/sda3', '/')
                a.shell(_MAKE_LAYERS)
            return path

        # what it lies on may be made anew under its name
        return cache.get(harness.CACHE, 'layers', '.qcow2', [
            below, os.stat(below).st_mtime_ns, _MAKE_LAYERS], make)


class BookwormExt4Test(LifeTest, LayersTestCase):
    """cloud kernel, one ext4; and what needs no second image to prove."""

    layout = 'ext4'

    _shared = None

    def shared_guest(self):
        """Return a guest for several tests, started by the first of them.

        It has a config drive for cloud-init.
        """
        cls = type(self)
        if cls._shared is None:
            folder = tempfile.mkdtemp(dir=self.folder)
            os.chmod(folder, 0o711)
            guest = launcher.Launcher(
                self.connection, folder, hypervisor.domain_type(),
                harness.FLAVOR, _USER_DATA).flexmem(
                    'shared', self.boot, direct_paths=_DIRECT_PATHS)
            cls.addClassCleanup(guest.destroy)
            guest.start()
            guest.wait_shell()
            cls._shared = guest
        return cls._shared

    def test_containers_work_where_their_engines_keep_them(self):
        guest = self.shared_guest()
        guest.output(_NESTED_OVERLAY.format(folder='/var/lib/docker'))
        self.assertEqual(_LAYERS, guest.output(_MOUNT_LAYERS))
        # what the direct paths are there for
        code, _said = guest.run(_NESTED_OVERLAY.format(folder='/root'))
        self.assertNotEqual(0, code)
        self.assertEqual('ext4\n', guest.output(
            'findmnt -no FSTYPE /var/lib/docker'))
        self.assertEqual('loaded active\n', guest.output(
            'echo $(systemctl show --value -p LoadState -p ActiveState'
            ' var-lib-docker.mount)'))
        # as a soft reboot does it
        guest.output('systemctl stop var-lib-docker.mount'
                     ' && ! mountpoint -q /var/lib/docker'
                     ' && systemctl start local-fs.target'
                     ' && mountpoint -q /var/lib/docker')

    def test_what_software_expects_of_files(self):
        scene = rows.Scene(self.shared_guest())
        faults = {row.name: row.run(scene)[0]
                  for row in groups.GROUPS['files'].rows}
        self.assertEqual({}, {name: fault for name, fault in faults.items()
                              if fault})

    def test_guest_can_not_change_the_base(self):
        guest = self.shared_guest()
        type(self)._shared = None  # what it reads afterwards may be wrong
        code, said = guest.run(_OVERWRITE)
        self.assertNotIn('dd: 0', said)
        guest.destroy()
        self.assert_base_unchanged()

    def test_cloud_init_finds_the_config_drive(self):
        self.shared_guest().output(
            'until test -e /run/config-drive-was-read; do sleep 1; done',
            timeout_s=1200)

    def test_what_the_boot_took_goes_back(self):
        guest = self.start(self.launcher.flexmem('flushed', self.boot))
        self.assertEqual('0\n', guest.output(
            'cat /sys/module/page_reporting/parameters/page_reporting_order'))
        before = guest.meminfo()
        guest.output(_WAIT_FOR_FLUSH, timeout_s=600)
        after = guest.meminfo()
        # what is read of block devices themselves
        self.assertGreater(before['Buffers'], 2 << 20)
        self.assertLess(after['Buffers'], 1 << 19)
        self.assertEqual([], guest.system_state().failed_units)

    def test_upgrade_with_kernel(self):
        repository = os.path.join(self.folder, 'repository.iso')
        kernel = aptrepo.make_iso(repository)
        guest = self.launcher.flexmem('upgrade', self.boot, kernel='own')
        guest.xml = guest.xml.replace('</devices>', f'''
          <disk type="file" device="disk">
            <driver name="qemu" type="raw"/>
            <source file="{repository}"/>
            <target dev="vdb" bus="virtio"/>
            <readonly/>
          </disk></devices>''')
        self.start(guest)
        said = guest.output(_UPGRADE, timeout_s=1200)
        self.assertIn(f'Setting up {kernel}', said)
        self.assertIn('Found linux image: /boot/vmlinuz-'
                      + kernel.removeprefix('linux-image-'), said)
        guest.reboot()
        self.assertEqual([], guest.system_state().failed_units)
        self.assertIn('install ok installed', guest.output(
            f"dpkg-query -W -f '${{Status}}' {kernel}"))
        release = kernel.removeprefix('linux-image-')
        for _ in range(2):
            self._assert_own_kernel(guest, release)
            guest.reboot()
        self._compare_with_direct_boot(guest, release)
        guest.output('mkdir /etc/flexmem; echo base > /etc/flexmem/kernel;'
                     ' sync')
        guest.destroy()
        self.start(guest)
        self.assertEqual(f'{self.base.manifest.kernel_release}\n',
                         guest.output('uname -r'))

    def _assert_own_kernel(self, guest, release):
        self.assertEqual(
            f'{release}\nflexmem.kernel={release}\n',
            guest.output("uname -r; grep -o 'flexmem.kernel=[^ ]*'"
                         ' /proc/cmdline'))
        state = guest.system_state()
        self.assertEqual(('running', []), (state.state, state.failed_units))
        guest.output(_WAIT_FOR_SUCCESS)
        self.assertEqual('0\n', guest.output(
            'ls /run/flexmem/delta/kernels.tried'
            ' && cat /proc/sys/kernel/panic'))

    def _compare_with_direct_boot(self, guest, release):
        """Measure the guest's memory, and as if its kernel were the base's."""
        tree = foldertree.FolderTree('/')
        found = kernel_module.find(tree, 'this machine')
        if found.release != release:
            return  # this machine has another one
        by_kexec = self._private_bytes(guest)
        folder = os.path.join(self.folder, 'direct')
        os.mkdir(folder, 0o755)
        handover.write(folder, found.image, initramfs.pack(found.modules))
        before = guest.xml
        for name in (basefiles.KERNEL, basefiles.INITRAMFS):
            os.chmod(os.path.join(folder, name), 0o644)
            guest.xml = guest.xml.replace(self.base.file(name),
                                          os.path.join(folder, name))
        guest.xml = guest.xml.replace(' flexmem.kernel=own', '')
        direct = self._private_bytes(guest)
        self.assertEqual(f'{release}\n', guest.output('uname -r'))
        self.addDetail('private memory', content.text_content(
            f'by kexec {by_kexec >> 10} KiB, directly {direct >> 10} KiB'))
        self.assertLess(by_kexec / direct, 1.03, (by_kexec, direct))
        guest.xml = before

    def _private_bytes(self, guest):
        guest.output('sync')
        guest.destroy()
        guest.start()
        guest.wait_shell()
        guest.wait_multi_user()
        guest.output(_WAIT_FOR_FLUSH, timeout_s=600)
        time.sleep(10)
        return memory.of_process(
            guest.pid, harness.FLAVOR.ram_mib << 20).private_bytes

    def test_writes_to_memory(self):
        guest = self.start(self.launcher.flexmem(
            'memory', self.boot, writes='memory',
            direct_paths=_DIRECT_PATHS))
        self.assertEqual([], guest.system_state().failed_units)
        self.assertEqual('vda 4096 1', ' '.join(guest.output(
            'lsblk -nbd -o NAME,SIZE,RO | grep ^vd').split()))
        guest.output('echo gone > /root/file; sync')
        guest.output(_NESTED_OVERLAY.format(folder='/var/lib/docker'))
        guest.reboot()
        guest.output('test ! -e /root/file')


class BookwormLvmTest(LifeTest, harness.GuestTestCase):
    """/boot on a partition, btrfs with subvolumes on a logical volume."""

    layout = 'lvm-btrfs'

    def _check_mounts(self, guest):
        super()._check_mounts(guest)
        options = guest.output('findmnt -no OPTIONS /var').strip().split(',')
        self.assertEqual({'nodev', 'nosuid'},
                         {'nodev', 'nosuid', 'noexec'} & {*options})


class TrixieXfsTest(LifeTest, harness.GuestTestCase):
    """Generic kernel with compressed modules, xfs."""

    layout = 'xfs'


class Ext4RootfsTest(LayersTestCase):
    """The other root filesystem on the other device."""

    layout = 'ext4'
    rootfs = 'ext4'

    def test_boots_with_dax(self):
        guest = self.start(self.launcher.flexmem(
            'ext4', self.boot, device='virtio-pmem',
            direct_paths=_DIRECT_PATHS))
        lower = next(line for line in guest.output('cat /proc/mounts')
                     .splitlines() if '/run/flexmem/lower' in line)
        self.assertIn('ext4', lower)
        self.assertIn('dax=always', lower)
        self.assertEqual([], guest.system_state().failed_units)
        self.assertEqual(_LAYERS, guest.output(_MOUNT_LAYERS))
        try:
            guest.run(_OVERWRITE, timeout_s=60)
        except exception.DemoFailed:
            pass  # the guest's own caches took the writes, and it broke
        guest.destroy()
        self.assert_base_unchanged()
