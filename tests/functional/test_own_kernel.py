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

"""Guests that start a kernel which is installed in them."""

import gzip
import lzma
import os
import pathlib
import shutil
import subprocess
import tempfile

import testtools
from testtools import content
from testtools import content_type

from nova_flexmem.image import kernel as kernel_module
from tests.flavors import system
from tests.functional import tiny_guest
from tests.upgrade import releases

_OWN = ['flexmem.kernel=own']

#: One kernel after the other, on a busy host without KVM.
_TWO_BOOTS_S = 300

_WHICH = """
uname -r
grep -o 'flexmem.kernel=[^ ]*' /proc/cmdline
ls /run/flexmem/delta/kernels.tried 2> /dev/null
"""

_INSTALL = 'cp -a /opt/{}/. /'

#: A menu as update-grub writes it, whose default has some more arguments.
_MENU = """
mkdir -p /boot/grub
cat > /boot/grub/grub.cfg << EOF
set default="0"
menuentry 'Linux' {{
        linux   /boot/vmlinuz-{release} root=UUID=1 ro console=ttyS0 {args}
}}
EOF
"""

#: Without an initramfs Linux finds no root filesystem, and panics.
_PANIC = 'initcall_blacklist=populate_rootfs'

#: What a server does to files of its image, some with several names.
_CHANGE = """
echo new > /data/a1
mv /folder /renamed
echo new > /renamed/c1
rm /data/b1
rm -r /gone; mkdir /gone; echo new > /gone/d2
"""

_SHOW = """
cd /
find data renamed folder gone more -type f 2> /dev/null | sort |
    while read -r file; do echo "$file $(cat $file)"; done
"""

_CHANGED = """\
data/a1 new
data/a2 old a
data/b2 old b
gone/d2 new
renamed/c1 new
renamed/c2 old c
"""


class TinyTestCase(testtools.TestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if os.geteuid() != 0:
            cls.skipTest(cls, 'needs root, to make filesystems')
        cls.folder = pathlib.Path(cls.enterClassContext(
            tempfile.TemporaryDirectory(prefix='flexmem-test-',
                                        dir='/var/tmp')))
        cls.kernel = tiny_guest.Kernel(tiny_guest.SYSTEMS[0])
        cls.tree = tiny_guest.make_tree(cls.folder / 'tree')
        cls.add_kernel(cls.kernel, cls.tree)
        for name, files in (('data', 'a1 a2 b1 b2'), ('folder', 'c1 c2'),
                            ('gone', 'd1')):
            (cls.tree / name).mkdir()
            for file in files.split():
                path = cls.tree / name / file
                if file in ('a2', 'b2', 'c2'):
                    os.link(path.with_name(f'{file[0]}1'), path)
                else:
                    path.write_text(f'old {file[0]}\n')
        cls.make_kernels()
        cls.base = tiny_guest.Base(cls.folder / 'base', cls.tree)

    @classmethod
    def add_kernel(cls, kernel, folder, pack=None):
        """Put a kernel and the modules that a guest needs into a folder.

        :param pack: returns a module's content, compressed, and its suffix
        """
        (folder / 'boot').mkdir(parents=True)
        shutil.copy(kernel.path, folder / 'boot')
        target = folder / 'lib/modules' / kernel.release
        for path in kernel.module_paths(kernel_module.WANTED):
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(kernel.folder / path, target / path)
            if pack:
                stem = path.partition('.ko')[0]
                packed, suffix = pack(kernel.read_module(path)[1])
                (target / path).unlink()
                (target / f'{stem}.ko{suffix}').write_bytes(packed)
        for path in kernel.folder.glob('modules.*'):
            shutil.copy(path, target)
        if pack:
            subprocess.run(['depmod', '-b', str(folder), kernel.release],
                           check=True, timeout=60)

    @classmethod
    def make_kernels(cls):
        """Put kernels that guests install into the image, below /opt."""

    def guest(self, name=None):
        guest = tiny_guest.Guest(
            self.folder / (name or self.id().rpartition('.')[2]), 1 << 30)
        self.addDetail('console', content.Content(
            content_type.UTF8_TEXT, lambda: [guest.console.encode()]))
        return guest

    def boot(self, guest, script=_WHICH, timeout_s=_TWO_BOOTS_S, **options):
        return guest.boot(self.base, self.kernel, script, arguments=_OWN,
                          timeout_s=timeout_s, **options)

    def boot_in_vain(self, guest, **options):
        self.assertRaises(AssertionError, self.boot, guest, **options)
        self.assertIn('flexmem: starting kernel', guest.console)


class SameReleaseTest(TinyTestCase):
    """Another build of the release that the image has."""

    @classmethod
    def make_kernels(cls):
        cls.add_kernel(cls.kernel, cls.tree / 'opt/build')
        with open(cls.tree / 'opt/build/boot' / cls.kernel.path.name,
                  'ab') as f:
            f.write(b'\0')

    def test_installed_and_started(self):
        guest, release = self.guest(), self.kernel.release
        self.assertEqual(
            f'{release}\nflexmem.kernel=own\n', self.boot(
                guest, _WHICH + _CHANGE + _INSTALL.format('build')
                + _MENU.format(release=release, args='of.the=menu')))
        self.assertEqual(
            f'{release}\nflexmem.kernel={release}\n'
            f'panic=11 console=ttyS0 of.the=menu\n0\n{_CHANGED}',
            self.boot(guest, f'''{_WHICH}
                grep -o '.* of.the=menu' /proc/cmdline
                cat /proc/sys/kernel/panic
                {_SHOW}'''))
        self.assertIn(f'flexmem: starting kernel {release}', guest.console)
        # a bad argument costs two starts
        self.boot(guest, _MENU.format(release=release, args=_PANIC))
        for _ in range(2):
            self.boot_in_vain(guest)
        self.assertEqual(f'{release}\nflexmem.kernel=own\n{release}\n',
                         self.boot(guest))
        self.assertIn('it was started 2 times and did not get to the end of'
                      ' the boot', guest.console)


class OtherReleasesTest(TinyTestCase):
    """Debian's kernels of other releases and for other machines."""

    @classmethod
    def make_kernels(cls):
        try:
            cls.newer = tiny_guest.Kernel(releases.kernel_root('trixie'))
        except releases.Unreachable as e:
            cls.skipTest(cls, str(e))
        cls.generic = tiny_guest.Kernel(system.unpacked())
        cls.add_kernel(cls.newer, cls.tree / 'opt/newer')
        cls.add_kernel(cls.generic, cls.tree / 'opt/gzip', lambda module: (
            gzip.compress(module), '.gz'))
        cls.add_kernel(cls.generic, cls.tree / 'opt/xz', lambda module: (
            lzma.compress(module, check=lzma.CHECK_CRC32), '.xz'))
        cls.add_kernel(cls.generic, cls.tree / 'opt/zstd', lambda module: (
            subprocess.run(['zstd', '-q', '-c'], input=module, check=True,
                           capture_output=True).stdout, '.zst'))
        tiny_guest.install(cls.tree, '/usr/bin/zstd')

    def assert_runs(self, guest, kernel, tried='', **options):
        self.assertEqual(
            f'{kernel.release}\nflexmem.kernel={kernel.release}\n{tried}',
            self.boot(guest, **options))

    def assert_base_runs(self, guest, tried='', **options):
        self.assertEqual(
            f'{self.kernel.release}\nflexmem.kernel=own\n{tried}',
            self.boot(guest, **options))

    def test_two_kernels_use_a_delta_in_turn(self):
        guest = self.guest()
        self.boot(guest, _CHANGE + _INSTALL.format('newer'))
        self.assert_runs(guest, self.newer)
        self.assertEqual(_CHANGED, self.boot(guest, f"""
            {_SHOW}
            mkdir /etc/flexmem /more; echo base > /etc/flexmem/kernel
            echo newer > /more/a; echo newer > /data/b2
            mv /renamed /folder; rm /gone/d2
            """))
        changed = (_CHANGED.replace('b2 old b', 'b2 newer')
                   .replace('gone/d2 new\n', 'more/a newer\n')
                   .replace('renamed', 'folder'))
        changed = ''.join(sorted(changed.splitlines(keepends=True)))
        self.assertEqual(changed, self.boot(guest, _SHOW))
        self.assert_base_runs(guest)
        self.boot(guest, 'echo newest > /etc/flexmem/kernel;'
                  ' echo base > /more/b; rm /more/a')
        self.assertEqual(
            changed.replace('more/a newer', 'more/b base'),
            self.boot(guest, _SHOW))
        self.assert_runs(guest, self.newer)

    def test_virtio_pmem_and_all_compressions(self):
        for packed in ('gzip', 'xz', 'zstd'):
            guest = self.guest(packed)
            options = {'flexmem_device': 'virtio-pmem'}
            self.boot(guest, _INSTALL.format(packed), **options)
            self.assert_runs(guest, self.generic, **options)

    def test_kernels_that_fail_are_left_for_older_ones(self):
        guest = self.guest()
        self.boot(guest, f'{_INSTALL.format("newer")}; '
                  + _INSTALL.format('gzip')
                  + _MENU.format(release=self.newer.release, args=_PANIC))
        for _ in range(2):
            self.boot_in_vain(guest)
        self.assertIn('Kernel panic', guest.console)
        tried = f'{self.newer.release}\n'
        self.assert_runs(guest, self.generic, tried)
        self.boot(guest, f'rm -r /lib/modules/{self.generic.release}')
        self.assert_base_runs(guest, tried)
        self.assertIn(f'{self.generic.release}: its modules are missing',
                      guest.console)

    def test_hanging_kernel(self):
        """The decompressor of a damaged kernel halts; a user resets twice."""
        guest = self.guest()
        kernel = f'/boot/{self.newer.path.name}'
        self.boot(guest, _INSTALL.format('newer') + f"""
            size=$(stat -c %s {kernel})
            dd if=/dev/zero of={kernel} bs=4096 count=100 conv=notrunc \
                seek=$((size / 8192))
            """)
        for _ in range(2):
            self.boot_in_vain(guest, timeout_s=60)
        self.assert_base_runs(guest, f'{self.newer.release}\n')

    def test_what_cannot_be_started(self):
        guest = self.guest()
        self.boot(guest, _INSTALL.format('newer') + f"""
            echo damaged > /boot/{self.newer.path.name}
            """)
        self.assert_base_runs(guest)
        self.assertIn(f'{self.newer.release}: ', guest.console)
        self.assertIn('is not a kernel for this machine', guest.console)
        self.boot(guest, f"""
            {_INSTALL.format('newer')}
            cd /lib/modules/{self.newer.release}
            sed -i '/nd_pmem/d' modules.dep
            """)
        self.assert_base_runs(guest)
        self.assertIn('it has no nd_pmem', guest.console)

    def test_locked_down(self):
        guest = self.guest()
        self.boot(guest, _INSTALL.format('newer'))
        self.assertEqual(
            f'{self.kernel.release}\n', guest.boot(
                self.base, self.kernel, 'uname -r',
                arguments=[*_OWN, 'lockdown=integrity']))
        self.assertIn("the image's kernel is locked down", guest.console)
