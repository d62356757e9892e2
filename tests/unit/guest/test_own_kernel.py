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

"""The scripts that start a guest's own kernel: under busybox, on folders."""

import lzma
import os
import pathlib
import re
import stat
import zlib

from nova_flexmem.build import cpio
from nova_flexmem.build import initramfs
from nova_flexmem.build import ownkernel
from nova_flexmem import guest
from nova_flexmem.image import bootloader
from nova_flexmem.image import foldertree
from nova_flexmem.image import installed
from nova_flexmem.image import kernel
from nova_flexmem.image import modules
from nova_flexmem.image import releases
from tests.unit.guest import test_init

_FOLDER = os.path.join(os.path.dirname(guest.__file__), 'kexec')

_RUNNING = '6.1.0-50-cloud-amd64'
_NEWER = '6.1.0-56-cloud-amd64'
_NEWEST = '6.12.9-amd64'

#: As update-grub writes it; the version is that of GRUB 2.06, shortened.
_MENU = r"""
if [ -s $prefix/grubenv ]; then
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
else
   set default="DEFAULT"
fi
function load_video {
  if [ x$feature_all_video_module = xy ]; then
    insmod all_video
  fi
}
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'simple-1' {
        load_video
        echo    'Loading Linux 6.12.9-amd64 ...'
        linux   /boot/vmlinuz-6.12.9-amd64 root=UUID=1-2 ro  quiet top
        initrd  /boot/initrd.img-6.12.9-amd64
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'more' {
        menuentry 'Debian, with Linux 6.12.9-amd64' --id 'a-new' {
                linux   /boot/vmlinuz-6.12.9-amd64 root=UUID=1-2 ro quiet
        }
        menuentry 'Debian, 6.12.9-amd64 (recovery mode)' --id 'a-new-r' {
                linux   /boot/vmlinuz-6.12.9-amd64 root=UUID=1-2 ro single
        }
        menuentry 'It'\''s >> "6"' --id 'a-56-r' {
                linux   /boot/vmlinuz-6.1.0-56-cloud-amd64 root=/dev/x single
        }
        menuentry 'Debian, with Linux 6.1.0-56-cloud-amd64' --id 'a-56' {
                linux /boot/vmlinuz-6.1.0-56-cloud-amd64 root=/dev/x ro OPTIONS
        }
        menuentry 'Debian, with Linux 6.1.0-50-cloud-amd64' --id 'a-50' {
                linux   /boot/vmlinuz-6.1.0-50-cloud-amd64 root=/dev/x ro
        }
}
menuentry 'Memory test' {
        linux16 /boot/memtest86+x64.bin
}
"""


_OPTIONS = 'a="b c" rd.lvm.lv=x console=ttyS0,115200 flexmem.base=7 $more'


def _menu(default):
    return _MENU.replace('DEFAULT', default).replace('OPTIONS', _OPTIONS)


class OwnKernelTestCase(test_init.InitTestCase):

    def setUp(self):
        super().setUp()
        for name in ('root', 'lower', 'delta/upper'):
            (self.folder / name).mkdir(parents=True)

    def run_script(self, script, environment=None, code=0):
        constants = self.folder / 'constants'
        constants.write_text(ownkernel.constants())
        return super().run_script(
            'KEXEC=$1/kexec NEXT=$1/next source=overlay\n'
            'mkdir -p $KEXEC\n'
            f'for f in {_FOLDER}/*.sh {_FOLDER}/*.awk $1/constants; do\n'
            '    [ -e $KEXEC/${f##*/} ] || /bin/ln -s $f $KEXEC/\n'
            'done\n'
            '. $KEXEC/start.sh\nNEXT=$1/next\n'
            f'running={_RUNNING}\n{script}', environment, code)

    def install(self, *names, own=True, folder='boot'):
        """Have kernels in the guest's view.

        :param own: whether they were installed in the guest
        """
        for release in names:
            path = f'{folder}/vmlinuz-{release}'
            for place in ('root', 'delta/upper' if own else 'lower'):
                self.write(f'{place}/{path}', f'kernel {release}')
            self.write(f'root/lib/modules/{release}/modules.dep', '')

    def candidates(self):
        return self.run_script('list_candidates').split()


class OrderTest(OwnKernelTestCase):

    NAMES = (
        '5.14.0-611.el9.x86_64', '5.14.0-611.5.1.el9_7.x86_64',
        '5.14.0-70.el9.x86_64', '5.14.0-427.13.1.el9_4.x86_64+debug',
        '6.1.0-9-amd64', '6.1.0-10-amd64', '6.1.0-10-cloud-amd64',
        '6.1.0-10-rt-amd64', '6.12.117+deb12-amd64', '6.12.117+deb13-amd64',
        '6.12.117-amd64', '6.12.9+bpo-amd64', '6.12~rc7-amd64', '6.12-amd64',
        '6.8.0-51-generic', '6.8.0-101-generic', '6.8.0-51-lowlatency',
        '6.4.0-150600.23.7-default', '6.4.0-150600.23.17-default',
        '6.11.4-301.fc41.x86_64', '6.11.10-300.fc41.x86_64', '6.6.0_1',
        '6.6.0.1', '6.6.00.1', '6.6', '6.6.0', '7', '0-rescue-1a2b',
        '6.13.0-rc3', '6.13.0-0.rc3.fc42.x86_64', '4.18.0-553.el8_10.x86_64')

    def test_as_the_builder(self):
        self.write('names', '\n'.join(self.NAMES) + '\n')
        for order in (releases.DPKG, releases.RPM):
            said = self.run_script(
                f'awk -v order={order} -f $KEXEC/order.awk $1/names')
            self.assertEqual(releases.newest_first(self.NAMES, order),
                             said.split(), order)

    def test_what_is_no_release(self):
        self.write('names', 'extramodules\n*\n6.1 x\n$(id)\n6.1\n6.1\n\n')
        self.assertEqual('6.1\n', self.run_script(
            'awk -v order=dpkg -f $KEXEC/order.awk $1/names'))


class CandidatesTest(OwnKernelTestCase):

    def setUp(self):
        super().setUp()
        self.write('root/var/lib/dpkg/status', '')
        self.install(_RUNNING, own=False)

    def set_default(self, value, saved=None, of_the_image=False):
        text = _menu(value)
        self.write('root/boot/grub/grub.cfg', text)
        if not of_the_image:
            self.write('delta/upper/boot/grub/grub.cfg', text)
        if saved:
            self.write('root/boot/grub/grubenv',
                       f'# GRUB Environment Block\nsaved_entry={saved}\n')

    def test_nothing_is_installed(self):
        self.assertEqual([_RUNNING], self.candidates())

    def test_newest_first(self):
        self.install(_NEWER, _NEWEST)
        self.assertEqual([_NEWEST, _NEWER, _RUNNING], self.candidates())

    def test_kernel_that_the_image_did_not_boot(self):
        self.install(_NEWEST, own=False)
        self.install(_NEWER)
        self.assertEqual([_NEWER, _RUNNING], self.candidates())

    def test_another_build_of_the_running_release(self):
        self.install(_RUNNING)
        self.run_script(f'is_own_kernel {_RUNNING}', code=1)
        self.write(f'lower/boot/vmlinuz-{_RUNNING}', 'an older build')
        self.run_script(f'is_own_kernel {_RUNNING}')

    def test_kernels_beside_their_modules(self):
        for place in ('root', 'delta/upper'):
            self.write(f'{place}/usr/lib/modules/{_NEWER}/vmlinuz', 'a')
        (self.folder / f'root/lib/modules/{_NEWER}').symlink_to(
            f'../../usr/lib/modules/{_NEWER}')
        self.assertEqual([_NEWER, _RUNNING], self.candidates())

    def test_removed_kernel(self):
        (self.folder / f'root/boot/vmlinuz-{_RUNNING}').unlink()
        self.install(_NEWER)
        self.assertEqual([_NEWER], self.candidates())

    def test_what_grub_starts(self):
        self.install(_NEWER, _NEWEST)
        for default in ('1>3', 'more>a-56', 'Advanced options for Debian'
                        ' GNU/Linux>Debian, with Linux 6.1.0-56-cloud-amd64',
                        r"1>It's >>>> \"6\""):
            self.set_default(default)
            self.assertEqual([_NEWER, _RUNNING], self.candidates(), default)
        for default in ('more>a-50', '1>4'):
            self.set_default(default)
            self.assertEqual([_RUNNING], self.candidates(), default)
        for default in ('0', 'gone', '1', '2', 'more', '1>gone',
                        '${something}', ''):
            self.set_default(default)
            self.assertEqual([_NEWEST, _NEWER, _RUNNING], self.candidates(),
                             default)

    def test_saved_default(self):
        self.install(_NEWER, _NEWEST)
        self.set_default('${saved_entry}', 'more>a-56')
        self.assertEqual([_NEWER, _RUNNING], self.candidates())
        self.set_default('0', 'more>a-56')
        self.assertEqual(_NEWEST, self.candidates()[0])
        self.set_default('${saved_entry}', 'more>a-50', of_the_image=True)
        (self.folder / 'delta/upper/boot/grub/grub.cfg').unlink()
        self.assertEqual(_NEWEST, self.candidates()[0])
        self.write('delta/upper/boot/grub/grubenv', '')
        self.assertEqual([_RUNNING], self.candidates())

    def test_boot_loader_specification(self):
        self.install(_NEWER, _NEWEST)
        self.write('delta/upper/boot/grub2/grubenv', '')
        self.write('root/boot/grub2/grub.cfg', 'blscfg\n')
        self.write('root/boot/grub2/grubenv', 'saved_entry=id-56\n'
                   'kernelopts=root=/dev/x ro quiet net.ifnames=0\n')
        self.write('root/boot/loader/entries/id-56.conf',
                   f'title Linux\nlinux /vmlinuz-{_NEWER}\n'
                   'options $kernelopts a=b $tuned_params\noptions c\n')
        self.assertEqual([_NEWER, _RUNNING], self.candidates())
        self.assertEqual(
            'root=/dev/x\nro\nquiet\nnet.ifnames=0\na=b\nc\n',
            self.run_script(f'read_own_args {_NEWER}'))
        self.run_script(f'read_own_args {_NEWEST}', code=1)
        for saved in ('gone', '../../../etc/passwd'):
            self.write('root/boot/grub2/grubenv', f'saved_entry={saved}\n')
            self.assertEqual(_NEWEST, self.candidates()[0])

    def test_what_the_user_chose(self):
        self.install(_NEWER, _NEWEST)
        for chosen, wanted in (
                ('base', []), ('newest', [_NEWEST, _NEWER, _RUNNING]),
                (_NEWER, [_NEWER, _RUNNING]), ('', [_NEWEST, _NEWER,
                                                    _RUNNING]),
                (f'{_RUNNING} # old\n', [_RUNNING]),
                ('5.9', ['5.9', _NEWEST, _NEWER, _RUNNING])):
            self.write('root/etc/flexmem/kernel', chosen)
            self.assertEqual(wanted, self.candidates(), chosen)

    def test_default_of_menus_as_the_builder_reads_them(self):
        self.install(_NEWER, _NEWEST)
        tree = foldertree.FolderTree(str(self.folder / 'root'))
        for default in ('0', '1>3', 'more>a-56', '1>4', 'gone', 'a-56'):
            self.set_default(default)
            read = bootloader.read(tree, installed.find(tree))
            self.assertEqual(
                [read.default], self.run_script('find_default').split(),
                default)


class ArgumentsTest(OwnKernelTestCase):

    def args(self, release):
        self.write('root/boot/grub/grub.cfg', _menu('0'))
        return self.run_script(
            f'read_own_args {release} > $1/args || echo none\n'
            'awk -v "dropped=$dropped" -f $KEXEC/clean.awk $1/args').strip()

    def test_of_the_default_or_of_the_first_that_is_not_for_recovery(self):
        self.assertEqual('quiet top', self.args(_NEWEST))
        self.assertEqual('"a=b c" console=ttyS0,115200', self.args(_NEWER))
        self.assertEqual('', self.args(_RUNNING))
        self.assertEqual('none', self.args('6.13'))

    def test_cleaned_as_by_the_builder(self):
        words = ['quiet', 'root=UUID=1', 'rootwait', 'rw', 'rd.lvm.lv=a/b',
                 'rd.md=0', 'rd.mdx', 'console=ttyS0', 'BOOT_IMAGE=/b', '--',
                 'crashkernel=1G', 'a.b=c', 'flexmem.base=1', '$x', 'ro=1',
                 'roo', 'initrd=/x', 'xflexmem', 'rd.dm.uuid=4', '\xe4']
        self.write('args', ''.join(f'{word}\n' for word in words))
        self.assertEqual(bootloader.clean(' '.join(words)), self.run_script(
            'awk -v "dropped=$dropped" -f $KEXEC/clean.awk $1/args').strip())

    def line(self, cmdline, release=_NEWER, code=0):
        self.write('proc/cmdline', cmdline + '\n')
        return self.run_script(
            f'make_line {release} && echo "$line" || {{ echo "$why"; exit 1;'
            ' }', code=code).strip()

    def test_line(self):
        ours = ('flexmem.base=7 flexmem.writes=disk flexmem.kernel={}'
                ' swiotlb=noforce last')
        self.assertEqual(
            f'panic=11 ro quiet  {ours.format(_NEWER)}',
            self.line(f'ro quiet {ours.format("own")}'))
        self.args(_NEWER)
        self.assertEqual(
            'panic=11 "a=b c" console=ttyS0,115200 ' + ours.format(_NEWER),
            self.line(f'ro quiet {ours.format("own")}'))

    def test_default_of_the_host(self):
        end = f'flexmem.base=7 flexmem.kernel={_NEWER}'
        line = 'percpu_alloc=page ro flexmem.base=7 flexmem.kernel=own'
        self.assertEqual(f'panic=11 percpu_alloc=page ro  {end}',
                         self.line(line))
        self.args(_NEWER)  # the server's own may say something else
        self.assertEqual('panic=11 percpu_alloc=page "a=b c"'
                         f' console=ttyS0,115200 {end}', self.line(line))

    def test_defaults_of_the_host(self):
        end = f'flexmem.base=7 flexmem.kernel={_NEWER}'
        self.args(_NEWER)
        for defaults in ('percpu_alloc=page', 'cryptomgr.notests',
                         'percpu_alloc=page cryptomgr.notests'):
            self.assertEqual(
                f'panic=11 {defaults} "a=b c" console=ttyS0,115200 {end}',
                self.line(f'{defaults} ro flexmem.base=7 flexmem.kernel=own'))

    def test_long_line(self):
        self.assertEqual('its command line is too long', self.line(
            'a' * 2040 + ' flexmem.base=7', code=1))


class ModulesTest(OwnKernelTestCase):

    def setUp(self):
        super().setUp()
        self.write('sys/bus/nd/devices/ndbus0/provider', 'ACPI.NFIT\n')

    def write_index(self, **files):
        for kind in ('dep', 'builtin', 'softdep', 'alias'):
            self.write(f'root/lib/modules/{_NEWER}/modules.{kind}',
                       files.get(kind, ''))
        return modules.Modules(*(files.get(kind, '').encode() for kind in (
            'dep', 'builtin', 'softdep', 'alias')))

    def paths(self):
        return self.run_script(f'find_modules {_NEWER} || echo "$why"\n'
                               'echo "$paths"').split()

    def wanted(self, available, rootfs='erofs'):
        return available.closure([*kernel.NEEDED, rootfs,
                                  *kernel.DEVICES['nvdimm'], *kernel.WELCOME])

    def test_as_the_builder(self):
        available = self.write_index(
            dep='kernel/fs/ext4/ext4.ko.xz: kernel/lib/crc16.ko.xz'
                ' kernel/fs/jbd2/jbd2.ko.xz kernel/fs/mbcache.ko.xz\n'
                'kernel/fs/jbd2/jbd2.ko.xz:\nkernel/fs/mbcache.ko.xz:\n'
                'kernel/lib/crc16.ko.xz:\n'
                'kernel/fs/overlayfs/overlay.ko.xz:\n'
                'kernel/fs/erofs/erofs.ko.xz: kernel/lib/libcrc32c.ko.xz\n'
                'kernel/lib/libcrc32c.ko.xz:\n'
                'kernel/crypto/crc32c_generic.ko.xz:\n'
                'kernel/arch/x86/crypto/crc32c-intel.ko.xz:\n'
                'kernel/drivers/block/virtio_blk.ko.xz:\n'
                'kernel/drivers/nvdimm/nd_pmem.ko.xz:'
                ' kernel/drivers/nvdimm/nd_btt.ko.xz\n'
                'kernel/drivers/nvdimm/nd_btt.ko.xz:\n'
                'kernel/drivers/acpi/nfit/nfit.ko.xz:\n'
                'kernel/drivers/ata/ahci.ko.xz: kernel/circle.ko.xz\n'
                'kernel/circle.ko.xz: kernel/drivers/ata/ahci.ko.xz\n',
            builtin='kernel/drivers/virtio/virtio_pci.ko\n'
                    'kernel/drivers/nvdimm/libnvdimm.ko\n',
            softdep='# Soft dependencies\n'
                    'softdep libcrc32c pre: crc32c\n'
                    'softdep ext4 pre: crc32c-gone mbcache post: nothing\n'
                    'softdep erofs post: x\n',
            alias='# Aliases\nalias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\n'
                  'alias crc32c crc32c_intel\nalias crc32c crc32c_generic\n'
                  'alias fs-ext4 ext4\n')
        wanted = self.wanted(available)
        self.assertEqual(wanted, self.paths())
        self.assertLess(wanted.index('kernel/arch/x86/crypto/crc32c-intel.'
                                     'ko.xz'),
                        wanted.index('kernel/lib/libcrc32c.ko.xz'))

    def test_of_this_machine(self):
        folders = [path.parent for path in
                   pathlib.Path('/lib/modules').glob('*/modules.dep')]
        if not folders:
            self.skipTest('no kernel is installed on this machine')
        available = self.write_index(**{
            kind: (folders[0] / f'modules.{kind}').read_text()
            for kind in ('dep', 'builtin', 'softdep', 'alias')})
        if any(name not in available for name in (
                *kernel.NEEDED, 'erofs', *kernel.DEVICES['nvdimm'])):
            self.skipTest('its kernel cannot run FlexMem guests')
        self.assertEqual(self.wanted(available), self.paths())

    def test_what_is_missing(self):
        self.write_index(dep='a/ext4.ko:\na/overlay.ko:\na/erofs.ko:\n'
                             'a/nd_pmem.ko:\n',
                         builtin='a/virtio_pci.ko\na/libnvdimm.ko\n')
        self.assertIn('it has no virtio_blk nfit\n', self.run_script(
            f'find_modules {_NEWER} || echo "$why"'))
        self.write('sys/bus/nd/devices/ndbus0/provider', 'virtio1\n')
        self.assertIn('it has no virtio_blk virtio_pmem\n', self.run_script(
            f'find_modules {_NEWER} || echo "$why"'))

    def test_no_index(self):
        self.assertEqual(
            f'its modules are missing (/lib/modules/{_NEWER}/modules.dep)\n',
            self.run_script(f'find_modules {_NEWER} || echo "$why"'))

    def test_compressed(self):
        content = b'\x7fELF' + b'module' * 1000
        gzip = zlib.compressobj(wbits=31)
        for name, packed in (
                ('a.ko', content), ('a.ko.xz', lzma.compress(
                    content, check=lzma.CHECK_CRC32)),
                ('a.ko.gz', gzip.compress(content) + gzip.flush())):
            self.write(f'root/{name}', packed)
            self.run_script(f'unpack_module /{name} > $1/unpacked')
            self.assertEqual(content,
                             (self.folder / 'unpacked').read_bytes())
            self.write(f'root/{name}', packed[:30])
            if name != 'a.ko':
                self.run_script(f'unpack_module /{name}', code=1)
        self.run_script('unpack_module /a.ko.bz2', code=1)


class PackTest(OwnKernelTestCase):

    def test_same_initramfs_with_other_modules(self):
        for name, content in cpio.unpack(initramfs.pack(
                [('erofs', b'\x7fELF old')])).items():
            path = self.folder / 'initramfs' / name
            if name.startswith('bin/') and content == b'busybox':
                path.symlink_to('busybox')
            elif content:
                self.write(path, content)
            else:
                path.mkdir(exist_ok=True)
        folder = f'root/lib/modules/{_NEWER}'
        self.write(f'{folder}/modules.dep', '')
        self.write(f'{folder}/a/erofs.ko.xz', lzma.compress(
            b'\x7fELF new', check=lzma.CHECK_CRC32))
        self.write(f'{folder}/a/nd-pmem.ko', b'\x7fELF nd')
        self.run_script(
            'INITRAMFS=$1/initramfs\n'
            'find_modules() { paths="a/erofs.ko.xz a/nd-pmem.ko"; }\n'
            f'pack_initramfs {_NEWER}')
        # busybox has that word in it as well
        end = b'TRAILER!!!\0'
        packed = (self.folder / 'next.cpio').read_bytes()
        first, second, _rest = packed.rsplit(end, 2)
        members = cpio.unpack(first + end)
        members |= cpio.unpack(second.lstrip(b'\0') + end)
        wanted = cpio.unpack(initramfs.pack(
            [('erofs', b'\x7fELF new'), ('nd-pmem', b'\x7fELF nd')]))
        self.assertEqual(wanted, members)
        self.assertFalse((self.folder / 'next').exists())

    def test_module_that_cannot_be_unpacked(self):
        self.assertEqual('cannot unpack its module a/b.ko.xz\n',
                         self.run_script(
                             'find_modules() { paths="a/b.ko.xz"; }\n'
                             f'pack_initramfs {_NEWER} || echo "$why"'))


class TryTest(OwnKernelTestCase):
    """try_kernel(), with programs that leave a trace in place of the ELF."""

    def setUp(self):
        super().setUp()
        self.install(_NEWER)
        self.write('proc/cmdline', 'flexmem.base=7\n')
        self.write('kexec-code', '0')
        self.write('program', '#!/bin/sh\necho "kexec $*"\n'
                   f'[ $# = 0 ] || exit $(cat {self.folder}/kexec-code)\n'
                   'exit 5\n')
        (self.folder / 'program').chmod(0o755)
        (self.folder / 'bin/kexec').symlink_to(self.folder / 'program')

    def attempt(self, release=_NEWER):
        return self.run_script(
            'delta_is_mounted=yes\n'
            'pack_initramfs() { true; }\numount() { echo "umount $1"; }\n'
            f'try_kernel {release} || echo "$why"')

    def record(self):
        return self.folder / f'delta/kernels.tried/{_NEWER}'

    def test_counted_before_it_starts(self):
        root = self.folder / 'root'
        said = self.attempt()
        self.assertEqual(
            [f'kexec {root}/boot/vmlinuz-{_NEWER} {self.folder}/next.cpio'
             ' panic=11  flexmem.base=7',
             f'flexmem: starting kernel {_NEWER}, which is installed in this'
             ' server', f'umount {root}', f'umount {self.folder}/delta',
             'kexec '], said.splitlines()[:5])
        self.assertIn('does not start (error 5)', said)
        status = (root / f'boot/vmlinuz-{_NEWER}').stat()
        self.assertEqual(f'1 {status.st_size} {int(status.st_mtime)}\n',
                         self.record().read_text())
        self.attempt()
        said = self.attempt()
        self.assertIn('it was started 2 times and did not get to', said)
        self.assertNotIn('umount', said)
        self.assertEqual('2', self.record().read_text().split()[0])

    def test_another_build_is_tried_again(self):
        for _ in range(2):
            self.attempt()
        self.write(f'root/boot/vmlinuz-{_NEWER}', 'kernel, built again')
        self.assertIn('starting kernel', self.attempt())
        self.assertEqual('1', self.record().read_text().split()[0])

    def test_torn_records_count_nothing(self):
        for record in ('', '\n', 'x 1 2\n', '-5', '9' * 30, '; reboot'):
            self.record().parent.mkdir(exist_ok=True)
            self.record().write_text(record)
            self.assertIn('starting kernel', self.attempt(), record)

    def test_reasons(self):
        for code, reason in ((1, 'locked down'), (8, 'is not a kernel'),
                             (38, 'CONFIG_KEXEC_FILE'), (129, 'signature'),
                             (22, '(error 22)')):
            self.write('kexec-code', str(code))
            self.assertIn(reason, self.attempt())
        self.assertFalse(self.record().exists())
        self.assertIn('not installed', self.attempt('6.99'))
        for name in ("'../..'", "'6.1;id'", "''", 'newer'):
            self.assertIn('that is no name of a kernel', self.attempt(name))

    def test_delta_that_cannot_be_written_to(self):
        self.write('delta/kernels.tried', 'a file')
        said = self.attempt()
        self.assertIn('cannot write to the delta', said)
        self.assertNotIn('umount', said)

    def test_all_is_tried_in_turn(self):
        self.install(_NEWEST)
        for _ in range(2):
            self.attempt(_NEWEST)
        said = self.run_script(
            f'uname() {{ echo {_RUNNING}; }}\n'
            'mount_delta() { echo mounted; }\nmount_view() { true; }\n'
            'try_kernel() { why=reason; echo "try $1"; false; }\n'
            'start_own_kernel; echo "$delta_is_mounted"')
        self.assertEqual(
            ['mounted', f'try {_NEWEST}',
             f'flexmem: not starting this server\'s kernel {_NEWEST}: reason',
             f'try {_NEWER}',
             f'flexmem: not starting this server\'s kernel {_NEWER}: reason',
             'yes'], [line for line in said.splitlines()
                      if not line.startswith('umount')])


class SuccessTest(OwnKernelTestCase):

    def success(self, init):
        for release in (_NEWER, _NEWEST):
            self.write(f'delta/kernels.tried/{release}', '1 2 3\n')
        self.write('proc/sys/kernel/panic', '11\n')
        if init:
            self.write(f'root/lib/systemd/{init}', '')
            self.write('root/sbin/other', '')
            (self.folder / 'root/sbin/init').symlink_to(
                f'../lib/systemd/{init}')
        return self.run_script(f'. $KEXEC/started.sh\nstarted={_NEWER}\n'
                               'plan_success')

    def test_with_systemd_a_unit_notes_it(self):
        self.success('systemd')
        unit = self.folder / 'run/systemd/system/flexmem-kernel.service'
        text = unit.read_text()
        tried = self.folder / 'delta/kernels.tried' / _NEWER
        self.assertIn(f'ExecStart=/bin/rm -f {tried}\n', text)
        self.assertTrue(tried.exists())
        wanted = unit.parent / 'multi-user.target.wants' / unit.name
        self.assertEqual(text, wanted.read_text())
        shell = re.search(r"^ExecStart=/bin/sh -c '(.*)'$", text,
                          re.MULTILINE)[1].replace('$$', '$')
        # a read of one byte would be all that this file gives
        self.assertNotIn('read ', shell)
        panic = self.folder / 'proc/sys/kernel/panic'
        for before, after in (('11\n', '0\n'), ('60\n', '60\n')):
            panic.write_text(before)
            self.run_script(shell.replace('/proc/', f'{panic.parents[2]}/'))
            self.assertEqual(after, panic.read_text())

    def test_without_systemd_init_does(self):
        self.success('other')
        self.assertEqual([_NEWEST], os.listdir(
            self.folder / 'delta/kernels.tried'))
        self.assertEqual('0\n', (self.folder / 'proc/sys/kernel/panic')
                         .read_text())
        self.assertFalse((self.folder / 'run').exists())


class PrepareTest(test_init.InitTestCase):
    """What /init does for each value of flexmem.kernel."""

    def prepare(self, words):
        self.write('proc/cmdline', f'flexmem.reporting_order=0 {words}\n')
        self.write('modules/virtio_balloon.ko', '')
        self.write('modules/order', 'a.ko\nvirtio_balloon.ko\nb.ko\n')
        self.write('start.sh', 'start_own_kernel() { echo start; }\n')
        return self.run_script(
            'KEXEC=$1\nload_module() { echo "$1"; }\n'
            'set_reporting_order() { echo order; }\n'
            'mount_base() { echo base; }\nfind_or_make_delta() { :; }\n'
            'read_command_line; prepare; echo "[$started]"').split()

    def test_base(self):
        for words in ('', 'flexmem.kernel=base',
                      'flexmem.kernel=own flexmem.writes=memory'):
            self.assertEqual(['a.ko', 'virtio_balloon.ko', 'b.ko', 'order',
                              'base', '[]'], self.prepare(words), words)

    def test_own(self):
        self.assertEqual(
            ['a.ko', 'b.ko', 'base', 'start', 'virtio_balloon.ko', 'order',
             '[]'], self.prepare('flexmem.kernel=own'))

    def test_started(self):
        self.assertEqual(
            ['a.ko', 'virtio_balloon.ko', 'b.ko', 'order', 'base',
             f'[{_NEWER}]'], self.prepare(f'flexmem.kernel={_NEWER}'))

    def test_failure_of_another_kernel_boots_again(self):
        said = self.run_script(
            'poweroff() { echo off; }\nreboot() { echo "again $*"; exit 9; }\n'
            f'sleep() {{ :; }}\nstarted={_NEWER}\nfail no luck', code=9)
        self.assertEqual(
            f'flexmem: FATAL: no luck\nflexmem: FATAL: the kernel {_NEWER}'
            ' cannot start this server; rebooting\nagain -f\n', said)


class RestoreTest(test_init.InitTestCase):
    """Modules of the kernel that runs, whose package was removed."""

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest('needs root, to make whiteouts')
        (self.folder / 'lower/lib').mkdir(parents=True)
        self.write(f'lower/usr/lib/modules/{_RUNNING}/modules.dep', 'a')
        (self.folder / 'lower/lib').rmdir()
        (self.folder / 'lower/lib').symlink_to('usr/lib')
        self.removed = (self.folder / 'delta/upper/usr/lib/modules'
                        / _RUNNING)
        self.removed.parent.mkdir(parents=True)

    def restore(self):
        return self.run_script(f'restore_modules {_RUNNING}')

    def whiteout(self, path):
        path.parent.mkdir(exist_ok=True)
        os.mknod(path, stat.S_IFCHR, 0)

    def test_removed_folder(self):
        self.whiteout(self.removed)
        self.assertIn('in /lib/modules again', self.restore())
        self.assertFalse(os.path.lexists(self.removed))
        self.assertEqual('', self.restore())

    def test_removed_files(self):
        self.whiteout(self.removed / 'modules.dep')
        (self.removed / 'updates').mkdir()
        self.assertIn('in /lib/modules again', self.restore())
        self.assertFalse(self.removed.exists())

    def test_files_of_the_guest_stay(self):
        self.whiteout(self.removed / 'modules.dep')
        self.write(self.removed / 'updates/own.ko', 'own')
        self.assertEqual('', self.restore())
        self.assertTrue((self.removed / 'updates/own.ko').exists())

    def test_folder_that_is_still_there(self):
        self.assertEqual('', self.restore())
        self.write(self.removed / 'modules.dep', 'changed')
        self.assertEqual('', self.restore())
        self.assertTrue((self.removed / 'modules.dep').exists())


class VariablesTest(OwnKernelTestCase):

    def test_every_variable_is_set_first_or_local(self):
        text = ''.join(
            pathlib.Path(path).read_text()
            for path in sorted(pathlib.Path(_FOLDER).glob('*.sh')))
        names = set(re.findall(r'\$\{?#?([A-Za-z_]\w*)', text))
        self.assertLessEqual({'tries', 'why', 'dropped'}, names)
        said = self.run_script('set', dict.fromkeys(names, 'evil'))
        local = ' '.join(re.findall(r'^ +local (.*)', text, re.MULTILINE))
        # these are set by the function that is called first
        local += ' why paths line s'
        for name in re.findall("^(.*)='evil'", said, re.MULTILINE):
            self.assertRegex(local, rf'\b{name}\b')
