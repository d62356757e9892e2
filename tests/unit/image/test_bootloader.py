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

import fixtures
import testtools

from nova_flexmem.image import bootloader
from tests.unit.image import samples

_RELEASE = '6.1.0-10-amd64'

_KERNELS = {path: '' for release in (_RELEASE, '6.1.0-9-amd64') for path in (
    f'/boot/vmlinuz-{release}', f'/lib/modules/{release}/modules.dep')}

_GRUB_MENU = """\
menuentry 'Debian' {
\tsearch --no-floppy --fs-uuid --set=root 11-22
\tlinux\t/boot/vmlinuz-6.1.0-9-amd64 root=UUID=11-22 ro old
}
menuentry 'Debian' {
\techo 'Loading Linux'
\tlinux\t/boot/vmlinuz-6.1.0-10-amd64 root=UUID=11-22 ro quiet \
console=tty0 console=ttyS0,115200 systemd.unit=multi-user.target
\tinitrd\t/boot/initrd.img-6.1.0-10-amd64
}
menuentry 'Debian (recovery mode)' {
\tlinux\t/boot/vmlinuz-6.1.0-10-amd64 root=UUID=11-22 ro single
}
"""


class BootloaderTest(testtools.TestCase):

    def _assert_args(self, expected, files):
        self.assertEqual(expected, samples.kernel_args(
            samples.Tree(_KERNELS | files), _RELEASE))

    def test_grub_menu(self):
        """The first entry of this very kernel, less what is ours."""
        for path in ('/boot/grub/grub.cfg', '/boot/grub2/grub.cfg'):
            self._assert_args(
                'quiet console=tty0 console=ttyS0,115200'
                ' systemd.unit=multi-user.target', {path: _GRUB_MENU})

    def test_grub_menu_of_a_separate_boot_and_efi(self):
        self._assert_args('a=b', {
            '/boot/grub/grub.cfg':
                "menuentry 'x' {\n"
                f'  linuxefi /vmlinuz-{_RELEASE} root=/dev/vda1 a=b\n}}'})

    def test_grub_menu_without_arguments(self):
        self._assert_args('', {
            '/boot/grub/grub.cfg':
                f'menuentry "x" {{\nlinux /vmlinuz-{_RELEASE}\n}}',
            '/etc/kernel/cmdline': 'not=used\n'})

    def test_boot_loader_specification(self):
        self._assert_args('quiet audit=0', {
            '/boot/loader/entries/a-6.1.0-9-amd64.conf':
                'version 6.1.0-9-amd64\nlinux /vmlinuz-6.1.0-9-amd64\n'
                'options old\n',
            '/boot/loader/entries/b.conf':
                f'title X\nlinux /vmlinuz-{_RELEASE}\n'
                'options root=/dev/vda1 ro quiet crashkernel=auto audit=0\n',
            '/boot/loader/entries/evil\n.conf': 'options evil\n'})

    def test_boot_loader_specification_with_kernelopts(self):
        self._assert_args('quiet net.ifnames=0 last', {
            '/boot/loader/entries/b.conf':
                f'version {_RELEASE}\nlinux /vmlinuz-{_RELEASE}\n'
                'options $kernelopts last $tuned\n',
            '/boot/grub2/grubenv': '# GRUB Environment Block\n'
                'kernelopts=root=/dev/vda1 ro quiet net.ifnames=0\n'})

    def test_kernelopts_that_would_fill_the_memory(self):
        args = samples.kernel_args(samples.Tree(_KERNELS | {
            '/boot/loader/entries/b.conf':
                f'version {_RELEASE}\nlinux /vmlinuz-{_RELEASE}\n'
                f'options {"$kernelopts " * 80000}\n',
            '/boot/grub2/grubenv': f'kernelopts={"x" * 1000000}\n'}),
            _RELEASE)
        self.assertLess(len(args), 100000)

    def test_kernel_cmdline_file(self):
        self._assert_args('console=ttyS0', {
            '/etc/kernel/cmdline': 'root=LABEL=x rw console=ttyS0\n',
            '/etc/default/grub': 'GRUB_CMDLINE_LINUX="not used"\n'})

    def test_grub_defaults(self):
        self._assert_args('console=ttyS0 quiet splash', {
            '/etc/default/grub':
                '# a comment\nGRUB_TIMEOUT=0\n'
                'GRUB_CMDLINE_LINUX_DEFAULT="quiet splash"\n'
                "GRUB_CMDLINE_LINUX='console=ttyS0'\n"})

    def test_grub_defaults_with_an_open_quote(self):
        self._assert_args('', {
            '/etc/default/grub': 'GRUB_CMDLINE_LINUX="quiet\n'})

    def test_grub_defaults_that_take_long_to_read(self):
        with fixtures.Timeout(20, gentle=True):
            self._assert_args('quiet', {
                '/etc/default/grub': 'GRUB_CMDLINE_LINUX_DEFAULT=quiet\n'
                f'GRUB_CMDLINE_LINUX="{"x" * 1000000}"\n'})

    def test_nothing_there(self):
        self._assert_args('', {})

    def test_bytes_that_are_no_text(self):
        self._assert_args('', {
            '/boot/grub/grub.cfg': b'\xff\xfe\0linux\0' * 1000,
            '/boot/loader/entries/x.conf': b'\0\xff options \xff\n',
            '/etc/kernel/cmdline': b'\n', '/etc/default/grub': b'\xff=\xff'})


class CleanTest(testtools.TestCase):

    def test_root_device_goes(self):
        self.assertEqual('quiet', bootloader.clean(
            'BOOT_IMAGE=/vmlinuz root=UUID=1 rootflags=subvol=@ rootfstype=xfs'
            ' rootdelay=5 rootwait ro rw resume=/dev/sda2 resume_offset=3'
            ' noresume initrd=/initrd quiet cryptdevice=a:b rd.lvm.lv=vg/root'
            ' rd.luks.uuid=x rd.md=0 rd.dm=0'))

    def test_other_ways_into_the_guest_go(self):
        self.assertEqual('quiet', bootloader.clean(
            'rdinit=/bin/sh crashkernel=1G-4G:192M,4G-64G:256M quiet'
            ' crashkernel=auto'))

    def test_what_only_looks_like_it_stays(self):
        args = 'hostname=flexmem.example.com x.flexmem.y=1'
        self.assertEqual(args, bootloader.clean(args))
        args = 'rootless=1 rosy rd.debug systemd.log_level=debug init=/bin/sh'
        self.assertEqual(args, bootloader.clean(args))

    def test_ours_can_not_be_forged(self):
        self.assertEqual('a', bootloader.clean(
            'flexmem.base=evil flexmem.direct=/etc a flexmem.writes="x y"'
            ' "flexmem.base=x" x="y flexmem.direct=/etc z"'))

    def test_quotes_keep_spaces(self):
        args = 'dyndbg="file a.c +p; file b.c +p" quiet'
        self.assertEqual(args, bootloader.clean(args))
        self.assertEqual('quiet', bootloader.clean('root="a b" quiet'))

    def test_control_characters_and_grub_variables_go(self):
        self.assertEqual('quiet', bootloader.clean(
            'a\0b \x1b[31m $x ${extra} quiet e\x07'))
        self.assertEqual(1, len(bootloader.clean('a\nb\r\nc').splitlines()))

    def test_an_open_quote_hides_nothing_of_what_follows(self):
        """What comes after the image's arguments must reach the kernel."""
        for args in ('quiet x="a b', '"', 'a" b'):
            self.assertEqual(0, bootloader.clean(args).count('"') % 2, args)

    def test_the_end_mark_of_the_kernels_arguments_goes(self):
        """Behind -- all words would be for init, ours too."""
        self.assertEqual('quiet single',
                         bootloader.clean('quiet -- single'))

    def test_what_the_kernel_takes_for_one_of_these(self):
        """It takes quotes off, and the byte A0 in an "\u00e0" for a space."""
        self.assertEqual('a', bootloader.clean(
            '"--" "root=/dev/vda" "ro" a \u00e0-- \u00e0root=x -"-"'))
