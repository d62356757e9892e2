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

"""/init of a guest: its functions under busybox, without a guest.

What the kernel shows in /sys, /proc and /dev is folders and files of the
test. What a guest's disks and mounts do is in tests/functional.
"""

import glob
import os
import pathlib
import re
import stat
import subprocess

import fixtures
import testtools

from nova_flexmem.build import initramfs
from nova_flexmem import guest

_INIT = os.path.join(os.path.dirname(guest.__file__), 'init')
_BASE = '0b4f7d7e-52b4-4d2e-9f6b-1f0b0f3c5a77'

#: Linux gives /init these, whatever the command line says.
_ENVIRONMENT = {'HOME': '/', 'TERM': 'linux'}

_READ = """
read_command_line
for value in "$base" "$rootfs" "$writes" "$direct" "$reporting_order" "$init"
do
    echo "[$value]"
done
"""


class InitTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        if not os.path.exists(initramfs.BUSYBOX):
            self.skipTest('busybox-static is not installed')
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        for name in ('sys', 'proc', 'dev', 'modules', 'bin'):
            (self.folder / name).mkdir()
        # as in a guest; a shell that prefers its own needs none
        for applet in initramfs._APPLETS:
            (self.folder / 'bin' / applet).symlink_to(initramfs.BUSYBOX)

    def write(self, path, content):
        path = self.folder / path
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            content = content.encode()
        path.write_bytes(content)

    def run_script(self, script, environment=None, code=0):
        """Run a script that has /init's functions; returns what it prints.

        :param environment: {name: value} beside what Linux gives
        :param code: the exit code that it must have
        """
        text = (f'. {_INIT}\n'
                'SYS=$1/sys PROC=$1/proc DEV=$1/dev MODULES=$1/modules'
                ' RUN=$1/run\n'
                'LOWER=$1/lower DELTA=$1/delta ROOT=$1/root PATH=$1/bin\n'
                f'{script}')
        done = subprocess.run(
            [initramfs.BUSYBOX, 'sh', '-c', text, 'sh', str(self.folder)],
            env=_ENVIRONMENT | (environment or {}), cwd=self.folder,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        said = done.stdout.decode(errors='replace')
        self.assertEqual(code, done.returncode, said)
        return said


class CommandLineTest(InitTestCase):

    def read(self, line, environment=None):
        self.write('proc/cmdline', line + '\n')
        said = self.run_script(_READ, environment)
        return [value[1:-1] for value in said.splitlines()]

    def test_all_words(self):
        self.assertEqual(
            [_BASE, 'ext4', 'memory', '/a,/b', '0', '/bin/other'],
            self.read(f'quiet flexmem.base={_BASE} flexmem.rootfs=ext4'
                      ' flexmem.writes=memory flexmem.direct=/a,/b'
                      ' flexmem.reporting_order=0 init=/bin/other'))

    def test_missing_words(self):
        self.assertEqual(['', 'erofs', 'disk', '', '', '/sbin/init'],
                         self.read('quiet'))
        self.assertEqual(['', 'erofs', 'disk', '', '', '/sbin/init'],
                         self.read(''))

    def test_quotes(self):
        for words in ('init="/bin/a  b"', '"init=/bin/a  b"'):
            self.assertEqual('/bin/a  b', self.read(f'x {words} y')[5])
        self.assertEqual('/bin/b', self.read(
            'dyndbg="file a.c +p; init=/bin/a" init=/bin/b')[5])
        self.assertEqual('b', self.read('x="flexmem.base=a" flexmem.base=b'
                                        ' "y flexmem.base=c"')[0])
        # as the kernel has it, which takes off only outer quotes
        self.assertEqual('/bin/"a b"', self.read('init=/bin/"a b"')[5])

    def test_open_quote(self):
        self.assertEqual('/bin/a b', self.read('init="/bin/a b')[5])

    def test_what_the_kernel_leaves_to_init(self):
        for end in ('--', '"--"'):
            self.assertEqual('a', self.read(
                f'flexmem.base=a {end} flexmem.base=b')[0])
        self.assertEqual('b', self.read('--a "-- " flexmem.base=b')[0])

    def test_all_blanks_of_the_kernel(self):
        # 0xa0 is one in lib/ctype.c, also within a character of UTF-8
        for locale in ({}, {'LANG': 'C.UTF-8', 'LC_ALL': 'C.UTF-8'}):
            for blank in (b'\t', b'\v', b'\f', b'\xa0', b'\xc3\xa0'):
                self.write('proc/cmdline', b'x' + blank
                           + b'flexmem.base=b' + blank[-1:] + b'c\n')
                self.assertEqual('[b]', self.run_script(
                    _READ, locale).splitlines()[0], (locale, blank))

    def test_one_quote_at_the_end_is_taken_off(self):
        for line, value in (('"init="a""', 'a"'), ('"init=a""', 'a"'),
                            ('init=""', ''), ('init="', ''), ('init=a"', 'a"'),
                            ('"init=a', 'a')):
            self.assertEqual(value, self.read(line)[5], line)

    def test_globs_stay(self):
        for name in ('flexmem.base=other', 'init=x'):
            self.write(name, '')
        self.assertEqual(['*', 'erofs', 'disk', '/[a-z]*', '', '*'],
                         self.read('* flexmem.base=* flexmem.b?se=a'
                                   ' flexmem.direct=/[a-z]* init=*'))

    def test_nothing_is_expanded(self):
        self.assertEqual('$(echo,x)`id`\\', self.read(
            'flexmem.base=$(echo,x)`id`\\')[0])

    def test_last_word_counts(self):
        self.assertEqual('b', self.read('flexmem.base=a flexmem.base=b')[0])

    def test_longest_line(self):
        line = 'a="b c" ' * 250 + f'flexmem.base={_BASE}'
        self.assertLess(2000, len(line))
        self.assertEqual(_BASE, self.read(line)[0])

    def test_variables_from_the_kernel_decide_nothing(self):
        hostile = {name: '/evil' for name in (
            'base', 'rootfs', 'writes', 'direct', 'reporting_order', 'init',
            'pmem', 'delta', 'source', 'text', 'word', 'line', 'quoted',
            'SYS', 'PROC', 'DEV', 'RUN', 'MODULES', 'LOWER', 'DELTA', 'ROOT',
            'SERIAL', 'WAIT_S', 'PATH')}
        hostile |= {'IFS': 'e=/.', 'ENV': '/evil', 'PS4': '$(echo evil)'}
        self.assertEqual(['', 'erofs', 'disk', '', '', '/sbin/init'],
                         self.read('quiet', hostile))
        self.assertEqual([_BASE, 'ext4', 'disk', '', '', '/sbin/init'],
                         self.read(f'flexmem.base={_BASE} flexmem.rootfs=ext4',
                                   hostile))
        self.assertEqual('', self.run_script('echo "$pmem$delta$source"',
                                             hostile).strip())

    def test_every_variable_is_set_first_or_local(self):
        with open(_INIT) as f:
            text = f.read()
        names = set(re.findall(r'\$\{?([A-Za-z_]\w*)', text))
        self.assertLessEqual({'base', 'WAIT_S', 'device'}, names)
        said = self.run_script('set', dict.fromkeys(names, 'evil'))
        local = ' '.join(re.findall(r'^ +local (.*)', text, re.MULTILINE))
        for name in re.findall("^(.*)='evil'", said, re.MULTILINE):
            self.assertRegex(local, rf'\b{name}\b')

    def test_variables_of_the_image_go_on_to_its_init(self):
        self.write('proc/cmdline', 'quiet\n')
        said = self.run_script(
            'read_command_line; wait_for true; export -p',
            {'tries': '7', 'word': 'a b', 'foo': 'bar'})
        for variable in ("tries='7'", "word='a b'", "foo='bar'"):
            self.assertIn(variable, said)


class DevicesTest(InitTestCase):

    def setUp(self):
        super().setUp()
        # no test can make a device without root
        found = [path for path in glob.glob('/dev/*')
                 if stat.S_ISBLK(os.stat(path).st_mode)]
        if not found:
            self.skipTest('there is no block device in /dev')
        self.device = found[0]

    def add(self, name, files, node=True):
        """Add a block device to /sys and, unless told not to, to /dev."""
        (self.folder / 'sys/block' / name).mkdir(parents=True)
        for path, content in files.items():
            self.write(f'sys/block/{name}/{path}', content)
        if node:
            (self.folder / 'dev' / name).symlink_to(self.device)

    def find(self, which, variable, code=0, before=''):
        said = self.run_script(f'{before}\n{which} || exit 7\n'
                               f'echo "${variable}"', code=code)
        return said.strip().removeprefix(f'{self.folder}/dev/')

    def find_delta(self, code=0):
        return self.find('find_delta', 'delta', code)

    def find_pmem(self, code=0, base=_BASE):
        return self.find('find_pmem', 'pmem', code, f'base="{base}"')

    def test_pmem(self):
        self.add('pmem0', {'device/uuid': f'{_BASE[:-1]}0\n'})
        self.add('pmem1', {})
        self.add('pmem2', {'device/uuid': f'{_BASE}\n'})
        self.add('sda', {'device/uuid': f'{_BASE}\n'})
        self.assertEqual('pmem2', self.find_pmem())

    def test_no_pmem(self):
        self.find_pmem(code=7)
        self.add('pmem0', {'device/uuid': f'{_BASE}x\n'})
        self.find_pmem(code=7)

    def test_pmem_without_its_node_yet(self):
        self.add('pmem0', {'device/uuid': f'{_BASE}\n'}, node=False)
        self.find_pmem(code=7)

    def test_no_pmem_without_the_word_that_names_it(self):
        self.add('pmem0', {})
        said = self.run_script(
            'fail() { echo "$*"; exit 9; }; mount() { exit 8; }; mount_base',
            code=9)
        self.assertEqual('no flexmem.base on the kernel command line\n', said)

    def mount_base(self, refused, shown, code=0):
        """Run mount_base where mount refuses and then shows options."""
        if not (self.folder / 'sys/block/pmem0').exists():
            self.add('pmem0', {'device/uuid': f'{_BASE}\n'})
        return self.run_script(
            'fail() { echo "FATAL: $*"; exit 9; }\n'
            'mount() {\n'
            '    echo "mount $4"\n'
            f'    case ,$4, in *,{refused},*) return 1; esac\n'
            f'    echo "$5 $6 ext4 {shown} 0 0" > "$PROC/mounts"\n'
            '}\n'
            f'base={_BASE} rootfs=ext4\nmount_base', code=code)

    def test_kernel_that_knows_dax_always(self):
        self.assertEqual('mount ro,noload,dax=always\n',
                         self.mount_base('none', 'ro,dax=always'))

    def test_kernel_before_5_8(self):
        for shown in ('ro,relatime,dax,norecovery', 'ro,dax'):
            self.assertEqual(
                'mount ro,noload,dax=always\nmount ro,noload,dax\n',
                self.mount_base('dax=always', shown))

    def test_mount_without_dax(self):
        for shown in ('ro,relatime', 'ro,dax=never', 'ro,dax=inode',
                      'ro,nodax'):
            self.assertIn('is mounted without DAX',
                          self.mount_base('none', shown, code=9))

    def test_pmem_that_comes_late(self):
        self.add('pmem0', {'device/uuid': f'{_BASE}\n'}, node=False)
        said = self.run_script(
            f'base={_BASE}\n'
            f'(sleep 0.3; ln -s {self.device} "$DEV/pmem0") &\n'
            'wait_for find_pmem && echo "found $pmem"')
        self.assertEqual(f'found {self.folder}/dev/pmem0\n', said)

    def test_waiting_ends(self):
        said = self.run_script('WAIT_S=1; wait_for find_pmem || echo over')
        self.assertEqual('over\n', said)

    def test_delta_on_virtio_blk(self):
        self.add('vda', {'serial': 'another\n'})
        self.add('vdb', {'serial': 'flexmem-delta\n'})
        self.assertEqual('vdb', self.find_delta())

    def test_delta_on_virtio_scsi(self):
        # as QEMU 7.2 gives it (scsi_disk_emulate_vpd_page)
        page = b'\x00\x80\x00\x0d' + b'flexmem-delta'
        self.add('sda', {'device/vpd_pg80': b'\x00\x80\x00\x05other'})
        self.add('sdb', {'device/vpd_pg80': page})
        self.assertEqual('sdb', self.find_delta())

    def test_delta_is_not_what_only_begins_so(self):
        self.add('vda', {'serial': 'flexmem-delta2\n'})
        self.add('sda', {'device/vpd_pg80':
                         b'\x00\x80\x00\x0exflexmem-delta'})
        self.add('sdb', {})
        self.find_delta(code=7)


class ModulesTest(InitTestCase):

    def test_order(self):
        self.write('modules/order', 'b.ko\na-1.ko\nc.ko\n')
        said = self.run_script(
            'insmod() { echo "insmod ${1#$MODULES/}"; [ "$1" != '
            '"$MODULES/a-1.ko" ]; }\nload_modules')
        self.assertEqual(
            'insmod b.ko\ninsmod a-1.ko\n'
            'flexmem: module a-1.ko does not load here\ninsmod c.ko\n', said)

    def load(self, *modules):
        self.write('modules/order', ''.join(f'{name}.ko\n'
                                            for name in modules))
        return self.run_script(
            'insmod() { echo "${1##*/} $# ${2-} ${3-}"; }\n'
            'read_command_line; load_modules').splitlines()

    def test_parameters_of_the_command_line(self):
        self.write('proc/cmdline', 'virtio_scsi.a=1 quiet virtio-blk.b=2 sd.c'
                   ' virtio_blk.d="x  y" "virtio_blk.e=z z"'
                   ' -- virtio_scsi.f=3\n')
        self.assertEqual(
            ['virtio-scsi.ko 2 a="1" ', 'sd_mod.ko 1  ', 'sd.ko 2 c ',
             'virtio_blk.ko 4 b="2" d="x  y"'],
            self.load('virtio-scsi', 'sd_mod', 'sd', 'virtio_blk'))

    def test_parameters_are_not_expanded(self):
        for value in ('$(id)', '`id`', '*', '\\\\n', "'", '$HOME'):
            self.write('proc/cmdline', f'a.b={value} .c=1 d.=2 e=f.g\n')
            self.assertEqual([f'a.ko 2 b="{value}" ', 'd.ko 1  ',
                              'e.ko 1  '], self.load('a', 'd', 'e'))

    def add_pci(self, *devices):
        for number, device in enumerate(devices):
            for name, value in zip(('vendor', 'device', 'class'), device):
                self.write(f'sys/bus/pci/devices/0000:00:0{number}.0/{name}',
                           f'{value}\n')

    def test_drivers_of_devices_that_are_not_there(self):
        drivers = ('virtio_blk', 'virtio_scsi', 'sd_mod', 'libata',
                   'ata_piix', 'ahci', 'cdrom', 'sr_mod', 'nd_virtio',
                   'virtio_pmem')

        def loaded():
            return [line.split('.')[0] for line in self.load(*drivers)]

        self.write('proc/cmdline', 'quiet\n')
        self.assertEqual([*drivers], loaded())  # the kernel tells of none
        self.add_pci(('0x1af4', '0x1001', '0x010000'))
        self.assertEqual(['virtio_blk', 'libata'], loaded())
        cd, scsi = ['cdrom', 'sr_mod'], ['virtio_scsi', 'sd_mod']
        for device, wanted in (
                (('0x1af4', '0x1004', '0x010000'), [*scsi, *cd]),
                (('0x1af4', '0x1048', '0x010000'), [*scsi, *cd]),
                (('0x1af4', '0x105b', '0x058000'),
                 ['nd_virtio', 'virtio_pmem']),
                (('0x8086', '0x7010', '0x010180'), ['ata_piix', *cd]),
                (('0x8086', '0x2922', '0x010601'), ['ahci', *cd])):
            self.add_pci(('0x8086', '0x1237', '0x060000'), device)
            self.assertEqual({'virtio_blk', 'libata', *wanted},
                             set(loaded()), device)

    def test_reporting_order(self):
        path = 'sys/module/page_reporting/parameters/page_reporting_order'
        self.run_script('set_reporting_order 9')  # the kernel has none
        self.assertFalse((self.folder / path).exists())
        self.write(path, '-1\n')
        self.run_script('set_reporting_order 9')
        self.assertEqual('9\n', (self.folder / path).read_text())


class FailureTest(InitTestCase):

    def test_says_why_and_switches_off(self):
        said = self.run_script('poweroff() { echo "off $*"; exit 9; }\n'
                               'sleep() { :; }\nfail no luck', code=9)
        self.assertEqual(
            'flexmem: FATAL: no luck\n'
            'flexmem: FATAL: the guest cannot start; powering off\noff -f\n',
            said)

    def test_says_why_on_all_consoles(self):
        self.write('dev/kmsg', '')
        said = self.run_script('poweroff() { exit 9; }\nsleep() { :; }\n'
                               'fail no luck', code=9)
        self.assertEqual('', said)
        self.assertEqual('<2>flexmem: FATAL: the guest cannot start; powering'
                         ' off\n', (self.folder / 'dev/kmsg').read_text())

    def test_unknown_writes_policy(self):
        said = self.run_script('fail() { echo "$*"; exit 9; }\n'
                               'writes=nowhere; find_or_make_delta', code=9)
        self.assertEqual('flexmem.writes=nowhere on the kernel command'
                         ' line\n', said)


class SystemdTest(InitTestCase):

    def link(self, **links):
        for path, target in links.items():
            path = self.folder / 'root' / path.replace('_', '/')
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target)

    def planned(self, init='/sbin/init'):
        self.run_script(f'init={init}; mkdir -p "$RUN"; plan_flush')
        return sorted(path.name for path in (self.folder / 'run').iterdir())

    def test_init_that_is_systemd(self):
        self.link(sbin='usr/sbin', usr_sbin_init='../lib/systemd/systemd')
        self.assertEqual(['systemd'], self.planned())
        unit = self.folder / 'run/systemd/system/flexmem-flush.service'
        self.assertIn('blockdev', unit.read_text())

    def test_absolute_links(self):
        self.link(sbin_init='/sbin/other', sbin_other='/lib/systemd/systemd')
        self.assertEqual(['systemd'], self.planned())

    def test_named_on_the_command_line(self):
        self.link(sbin_init='/lib/systemd/systemd')
        self.assertEqual([], self.planned('/bin/sh'))
        self.assertEqual(['systemd'], self.planned('/lib/systemd/systemd'))

    def test_other_inits(self):
        self.link(sbin_init='/bin/busybox')
        self.assertEqual([], self.planned())
        self.assertEqual([], self.planned('/sbin/openrc-init'))

    def test_loop(self):
        self.link(sbin_init='init')
        self.assertEqual([], self.planned())


class DeltaTest(InitTestCase):
    """What /init makes of a delta, by what its programs answer."""

    def setUp(self):
        super().setUp()
        (self.folder / 'delta/upper').mkdir(parents=True)
        self.write('proc/mounts', '')

    def mount(self, fsck='return 0', mount='return 0', before=''):
        """Run mount_layers; returns what was mounted, and what was said."""
        said = self.run_script(f'''
            delta=/dev/vda source=/dev/vda
            run_in_base() {{
                [ "$1" = e2fsck ] || return 0
                echo "CALL $*" >&3; {fsck}
            }}
            mount() {{ echo "MOUNT $*" >&3; {mount}; }}
            umount() {{ echo "UMOUNT ${{1##*/}}" >&3; }}
            poweroff() {{ exit 9; }}
            sleep() {{ :; }}
            {before}
            mount_layers 3> calls
            echo "read_only=$read_only"''')
        calls = (self.folder / 'calls').read_text()
        return calls.replace(f'{self.folder}/', '').splitlines(), said

    _RW = ['MOUNT -t ext4 -o ro,noload /dev/vda delta', 'UMOUNT delta',
           'CALL e2fsck -p /dev/vda',
           'MOUNT -t ext4 -o errors=remount-ro /dev/vda delta',
           'MOUNT -t overlay -o lowerdir=lower,upperdir=delta/upper,'
           'workdir=delta/work,redirect_dir=on,metacopy=off,index=off'
           ' /dev/vda root']
    _RO = ['MOUNT -t ext4 -o ro /dev/vda delta',
           'MOUNT -t overlay -o ro,lowerdir=delta/upper:lower,'
           'redirect_dir=follow,metacopy=off /dev/vda root']

    def test_sound(self):
        for fsck in ('return 0', 'return 127', 'echo no mtab; return 8'):
            calls, said = self.mount(fsck)
            self.assertEqual(self._RW, calls)
            self.assertIn('read_only=\n', said)

    def test_repaired(self):
        calls, said = self.mount('echo "inode 12 FIXED."; return 1')
        self.assertEqual(self._RW, calls)
        self.assertEqual('flexmem: e2fsck: inode 12 FIXED.\nread_only=\n',
                         said)

    def test_not_repaired(self):
        calls, said = self.mount('echo "RUN fsck MANUALLY."; return 4')
        self.assertEqual([*self._RW[:3], *self._RO], calls)
        self.assertEqual(
            'flexmem: e2fsck: RUN fsck MANUALLY.\n'
            'flexmem: e2fsck -p leaves errors on /dev/vda uncorrected; the'
            ' root filesystem is read-only\n'
            'flexmem: rescue the server, and run e2fsck on the disk'
            ' flexmem-delta\nread_only=yes\n', said)

    def test_error_that_mounting_meets(self):
        self.write('sys/fs/ext4/vda/errors_count', '1\n')
        fsck = 'if [ -e met ]; then echo 0 > sys/fs/ext4/vda/errors_count;' \
               ' echo FIXED; return 1; fi; : > met'
        calls, said = self.mount(fsck)
        self.assertEqual([*self._RW, 'UMOUNT root', 'UMOUNT delta',
                          *self._RW], calls)
        self.assertEqual('flexmem: e2fsck: FIXED\nread_only=\n', said)

    def test_error_that_stays(self):
        self.write('sys/fs/ext4/vda/errors_count', '1\n')
        calls, said = self.mount()
        self.assertEqual(self._RO, calls[-2:])
        self.assertIn('there are errors on /dev/vda; the root', said)
        # nothing but an e2fsck would reset the count
        calls, said = self.mount('return 127')
        self.assertEqual(self._RW, calls)

    def test_read_only_by_the_kernel(self):
        for options in ('ro,relatime', 'ro', 'rw,relatime,emergency_ro'):
            self.write('proc/mounts',
                       f'/dev/vda {self.folder}/delta ext4 {options} 0 0\n')
            calls, said = self.mount('return 127')
            self.assertEqual(self._RO, calls[-2:], options)
        self.write('proc/mounts', f'/dev/vda {self.folder}/delta ext4'
                                  ' rw,relatime,errors=remount-ro 0 0\n')
        self.assertEqual(self._RW, self.mount()[0])

    def test_superblock_that_is_gone(self):
        calls, said = self.mount(
            'return 0', 'case $* in *ro,noload,sb=*|*overlay*) ;;'
            ' *) return 1 ;; esac')
        self.assertNotIn('CALL e2fsck -p /dev/vda', calls)
        self.assertEqual('MOUNT -t ext4 -o ro,noload,sb=131072 /dev/vda delta',
                         calls[-2])
        self.assertIn('cannot mount /dev/vda as ext4; the root', said)

    def test_upper_folder_that_is_lost(self):
        (self.folder / 'delta/upper').rmdir()
        (self.folder / 'delta/work').mkdir()
        said = self.run_script(
            'mount() { :; }; umount() { :; }; sleep() { :; }\n'
            'run_in_base() { :; }; delta=/dev/vda\n'
            'poweroff() { exit 9; }; mount_layers', code=9)
        self.assertIn('FATAL: what was written to /dev/vda is lost\n', said)
        self.assertFalse((self.folder / 'delta/upper').exists())

    def test_nothing_can_be_mounted(self):
        said = self.run_script(
            'mount() { return 1; }; umount() { :; }; sleep() { :; }\n'
            'rmdir delta/upper; delta=/dev/vda\n'
            'poweroff() { exit 9; }; mount_layers', code=9)
        self.assertIn('flexmem: FATAL: cannot mount /dev/vda as ext4\n', said)

    def test_writes_to_memory(self):
        said = self.run_script(
            'mount() { return 1; }; sleep() { :; }; writes=memory\n'
            'poweroff() { exit 9; }; mount_layers', code=9)
        self.assertIn(f'FATAL: cannot mount the overlay of {self.folder}/lower'
                      f' and {self.folder}/delta\n', said)


class LayoutNoteTest(InitTestCase):

    def setUp(self):
        super().setUp()
        (self.folder / 'delta').mkdir()

    def note(self, layout, before='', noted=None):
        if noted is not None:
            self.write('delta/layout', noted)
        return self.run_script(f'layout={layout}\nread_note\n{before}\n'
                               'note_layout')

    def content(self):
        self.assertEqual([self.folder / 'delta/layout'],
                         list((self.folder / 'delta').iterdir()))
        return (self.folder / 'delta/layout').read_text()

    def test_first_use(self):
        self.assertEqual('', self.note('a' * 32))
        self.assertEqual('a' * 32 + '\n', self.content())

    def test_same_layout(self):
        self.assertEqual('', self.note('a', 'sync() { echo wrote; }', 'a\n'))
        self.assertEqual('a\n', self.content())

    def test_another_layout(self):
        said = self.note('b', noted='a\n')
        self.assertTrue(said.startswith(
            'flexmem: this delta was last used on base layout a; it now lies'
            ' on b\n'), said)
        self.assertEqual('b\n', self.content())

    def test_host_that_names_no_layout(self):
        self.assertEqual('', self.note('', noted='a\n'))
        self.assertEqual('a\n', self.content())

    def test_writes_to_memory(self):
        self.assertEqual('', self.note('a', 'writes=memory'))
        self.assertEqual([], list((self.folder / 'delta').iterdir()))

    def test_note_that_cannot_be_written(self):
        said = self.note('b', 'mv() { return 1; }', 'a\n')
        self.assertIn('flexmem: cannot write the layout to the delta\n', said)
        self.assertEqual('a\n', (self.folder / 'delta/layout').read_text())


class IndexEntryTest(InitTestCase):
    """Names of index entries, most as kernels made them."""

    _UUID = '1dc7d164-201a-4a65-abe6-c55573a7baad'
    _HEX = _UUID.replace('-', '')

    def find_number(self, name, before=''):
        return self.run_script(
            'find_number_by_path() { number=path; }\n'
            f'base={self._UUID}\n{before}\nfind_number "/x/{name}"\n'
            'echo "$number"').strip()

    def test_linux_6_1_erofs(self):
        self.assertEqual('62334', self.find_number(
            f'00fb1d0001{self._HEX}7ef3000000000000'))

    def test_linux_6_12_erofs(self):
        self.assertEqual('62334', self.find_number(
            f'00fb210081{self._HEX}000000007ef3000000000000'))
        self.assertEqual(str((5 << 32) + 62334), self.find_number(
            f'00fb210081{self._HEX}050000007ef3000000000000'))

    def test_linux_6_1_ext4(self):
        self.assertEqual('284', self.find_number(
            f'00fb1d0001{self._HEX}1c01000000000000'))

    def test_other_handles(self):
        for name in (f'00fb1d0099{self._HEX}7ef3000000000000', 'x',
                     f'00fb1d0001{self._HEX}$(reboot)', '00fb1d0001'):
            self.assertIn(self.find_number(name), ('', 'path'), name)

    def test_other_uuid(self):
        name = f'00fb1d0001{"0" * 32}7ef3000000000000'
        self.assertEqual('path', self.find_number(name))

    def test_other_layout_of_the_same_uuid(self):
        name = f'00fb1d0001{self._HEX}7ef3000000000000'
        self.assertEqual('path', self.find_number(name, 'noted=a layout=b'))
        for before in ('noted=a layout=a', 'noted=a', 'layout=b'):
            self.assertEqual('62334', self.find_number(name, before))
