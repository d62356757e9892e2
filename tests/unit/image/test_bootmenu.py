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

"""Which kernel an image boots, and with which arguments."""

import struct

import testtools

from nova_flexmem.image import bootloader
from nova_flexmem.image import installed
from tests.unit.image import samples

_UUID = '4fa63c1a-3f5e-4b1b-a3c5-2e6b2f1a9d10'

#: As 00_header, 10_linux and 30_uefi-firmware of Debian's GRUB write it.
_DEBIAN = """
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="%(default)s"
fi

if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi

export menuentry_id_option

if [ "${prev_saved_entry}" ]; then
  set saved_entry="${prev_saved_entry}"
  save_env saved_entry
fi

function savedefault {
  if [ -z "${boot_once}" ]; then
    saved_entry="${chosen}"
    save_env saved_entry
  fi
}
function load_video {
  if [ x$feature_all_video_module = xy ]; then
    insmod all_video
  fi
}
terminal_input console
### BEGIN /etc/grub.d/10_linux ###
function gfxmode {
        set gfxpayload="${1}"
}
set linux_gfx_mode=
menuentry 'Debian GNU/Linux' --class debian --class os \
$menuentry_id_option 'gnulinux-simple-U' {
        load_video
        if [ x$grub_platform = xxen ]; then insmod xzio; fi
        search --no-floppy --fs-uuid --set=root U
        echo    'Loading Linux 6.1.0-10-amd64 ...'
        linux   /boot/vmlinuz-6.1.0-10-amd64 root=UUID=U ro  console=ttyS0
        echo    'Loading initial ramdisk ...'
        initrd  /boot/initrd.img-6.1.0-10-amd64
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option \
'gnulinux-advanced-U' {
    menuentry 'Debian GNU/Linux, with Linux 6.1.0-10-amd64' --class debian \
$menuentry_id_option 'gnulinux-6.1.0-10-amd64-advanced-U' {
        linux   /boot/vmlinuz-6.1.0-10-amd64 root=UUID=U ro  adv10
    }
    menuentry 'Debian GNU/Linux, with Linux 6.1.0-10-amd64 (recovery mode)' \
$menuentry_id_option 'gnulinux-6.1.0-10-amd64-recovery-U' {
        linux   /boot/vmlinuz-6.1.0-10-amd64 root=UUID=U ro single rec10
    }
    menuentry 'Debian GNU/Linux, with Linux 6.1.0-9-amd64 (recovery mode)' \
$menuentry_id_option 'gnulinux-6.1.0-9-amd64-recovery-U' {
        linux   /boot/vmlinuz-6.1.0-9-amd64 root=UUID=U ro single rec9
    }
    menuentry 'Debian GNU/Linux, with Linux 6.1.0-9-amd64' \
$menuentry_id_option 'gnulinux-6.1.0-9-amd64-advanced-U' {
        linux   /boot/vmlinuz-6.1.0-9-amd64 root=UUID=U ro  adv9
    }
}
### END /etc/grub.d/10_linux ###
menuentry 'UEFI Firmware Settings' $menuentry_id_option 'uefi-firmware' {
    fwsetup
}
"""

_RHEL = """
set pager=1
if [ -f ${config_directory}/grubenv ]; then
  load_env -f ${config_directory}/grubenv
elif [ -s $prefix/grubenv ]; then
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
else
   set default="${saved_entry}"
fi
if [ -z "${kernelopts}" ]; then
  set kernelopts="root=UUID=U ro fallback"
fi
insmod blscfg
blscfg
"""

_MACHINE = '8d3f0c5b7c1e4a6f9d2b3a4c5d6e7f80'
_EL = ('5.14.0-611.el9.x86_64', '5.14.0-611.5.1.el9_7.x86_64',
       '5.14.0-570.el9.x86_64')


def _kernels(*releases):
    return {path: b'' for release in releases for path in (
        f'/boot/vmlinuz-{release}', f'/lib/modules/{release}/modules.dep')}


_TWO = _kernels('6.1.0-10-amd64', '6.1.0-9-amd64')


def _grubenv(**variables):
    return ('# GRUB Environment Block\n' + ''.join(
        f'{name}={value}\n' for name, value in variables.items())
    ).ljust(1024, '#')


def _entries(*releases, options='root=UUID=U ro crashkernel=1G-4G:192M {}',
             folder='/boot/loader'):
    return {f'{folder}/entries/{_MACHINE}-{release}.conf': (
        f'title Red Hat Enterprise Linux ({release}) 9.7 (Plow)\n'
        f'version {release}\nlinux /vmlinuz-{release}\n'
        f'initrd /initramfs-{release}.img $tuned_initrd\n'
        f'options {options.format(release)}\n'
        'grub_users $grub_users\ngrub_arg --unrestricted\n'
        'grub_class rhel\n') for release in releases}


def _named(release):
    """Return a kernel that has no release in its name."""
    content = bytearray(4096)
    content[0x1f1] = 4
    content[0x202:0x206] = b'HdrS'
    struct.pack_into('<HH', content, 0x206, 0x20f, 0)
    content[0x211], content[0x236] = 1, 1
    struct.pack_into('<H', content, 0x20e, 0x400)
    text = f'{release} (build@host) #1 SMP PREEMPT_DYNAMIC\0'.encode()
    content[0x600:0x600 + len(text)] = text
    return bytes(content)


class MenusTest(testtools.TestCase):

    def assert_boots(self, release, args, files, **other_args):
        """Check the default kernel and its arguments, and those of others.

        :param other_args: {release with _ for . and -: its arguments}
        """
        tree = samples.Tree(files)
        kernels = installed.find(tree)
        loader = bootloader.read(tree, kernels)
        self.assertEqual(release, loader.default)
        if release:
            self.assertEqual(args, loader.args(release))
        return loader

    def test_debian(self):
        self.assert_boots('6.1.0-10-amd64', 'console=ttyS0', _TWO | {
            '/boot/grub/grub.cfg': _DEBIAN % {'default': '0'}})

    def test_debian_defaults(self):
        """Numbers, titles and ids, each in the menu and in a submenu."""
        for default, release, args in (
                ('', '6.1.0-10-amd64', 'console=ttyS0'),
                ('1>0', '6.1.0-10-amd64', 'adv10'),
                ('1>3', '6.1.0-9-amd64', 'adv9'),
                ('1', '6.1.0-10-amd64', 'adv10'),
                ('gnulinux-simple-U', '6.1.0-10-amd64', 'console=ttyS0'),
                ('gnulinux-advanced-U>gnulinux-6.1.0-9-amd64-advanced-U',
                 '6.1.0-9-amd64', 'adv9'),
                ('Advanced options for Debian GNU/Linux>Debian GNU/Linux,'
                 ' with Linux 6.1.0-9-amd64', '6.1.0-9-amd64', 'adv9'),
                # GRUB does not look for it in submenus
                ('gnulinux-6.1.0-9-amd64-advanced-U', '6.1.0-10-amd64',
                 'console=ttyS0'),
                ('no such entry', '6.1.0-10-amd64', 'console=ttyS0'),
                ('9>9', '6.1.0-10-amd64', 'console=ttyS0'),
                ('2', None, '')):
            self.assert_boots(release, args, _TWO | {
                '/boot/grub/grub.cfg': _DEBIAN % {'default': default}})

    def test_debian_saved_entry(self):
        saved = 'gnulinux-advanced-U>gnulinux-6.1.0-9-amd64-advanced-U'
        menu = {'/boot/grub/grub.cfg':
                _DEBIAN % {'default': '${saved_entry}'}}
        self.assert_boots('6.1.0-9-amd64', 'adv9', _TWO | menu | {
            '/boot/grub/grubenv': _grubenv(saved_entry=saved)})
        self.assert_boots('6.1.0-10-amd64', 'console=ttyS0', _TWO | menu)

    def test_an_entry_for_the_next_boot_alone_does_not_count(self):
        self.assert_boots('6.1.0-10-amd64', 'console=ttyS0', _TWO | {
            '/boot/grub/grub.cfg': _DEBIAN % {'default': '0'},
            '/boot/grub/grubenv': _grubenv(saved_entry='1>3')})

    def test_never_the_arguments_of_a_recovery_entry(self):
        for default, release, args in (('1>1', '6.1.0-10-amd64',
                                        'console=ttyS0'),
                                       ('1>2', '6.1.0-9-amd64', 'adv9')):
            self.assert_boots(release, args, _TWO | {
                '/boot/grub/grub.cfg': _DEBIAN % {'default': default}})

    def test_recovery_entries_alone(self):
        self.assert_boots('6.1.0-9-amd64', 'quiet', _TWO | {
            '/boot/grub/grub.cfg':
                'menuentry "x" {\nlinux /vmlinuz-6.1.0-9-amd64 ro single\n}',
            '/etc/default/grub': 'GRUB_CMDLINE_LINUX=quiet\n'})

    def test_a_system_that_is_called_rescue(self):
        self.assert_boots('6.1.0-9-amd64', 'a=b', _TWO | {
            '/boot/grub/grub.cfg':
                'menuentry "SystemRescue" {\n'
                'linux /vmlinuz-6.1.0-9-amd64 ro a=b\n}'})

    def test_grub_default_where_the_menu_has_none(self):
        menu = ('menuentry "a" {\nlinux /vmlinuz-6.1.0-10-amd64 ten\n}\n'
                'menuentry "b" {\nlinux /vmlinuz-6.1.0-9-amd64 nine\n}\n')
        for value, release, args in (('b', '6.1.0-9-amd64', 'nine'),
                                     ('1', '6.1.0-9-amd64', 'nine'),
                                     ('saved', '6.1.0-9-amd64', 'nine'),
                                     ('0', '6.1.0-10-amd64', 'ten')):
            self.assert_boots(release, args, _TWO | {
                '/boot/grub/grub.cfg': menu,
                '/boot/grub/grubenv': _grubenv(saved_entry='b'),
                '/etc/default/grub': f'GRUB_DEFAULT={value}\n'})

    def test_rhel(self):
        """The order is that of rpm: 611.5.1.el9_7 comes before 611.el9."""
        files = _kernels(*_EL) | _entries(*_EL) | {
            '/boot/grub2/grub.cfg': _RHEL}
        self.assert_boots(_EL[1], _EL[1], files)
        for release in _EL:
            self.assert_boots(release, release, files | {
                '/boot/grub2/grubenv':
                    _grubenv(saved_entry=f'{_MACHINE}-{release}')})

    def test_rhel_8_with_kernelopts(self):
        files = _kernels(*_EL) | _entries(
            *_EL, options='$kernelopts $tuned_params') | {
            '/boot/grub2/grub.cfg': _RHEL}
        self.assert_boots(_EL[1], 'fallback', files)
        self.assert_boots(_EL[0], 'net.ifnames=0', files | {
            '/boot/grub2/grubenv': _grubenv(
                saved_entry=f'{_MACHINE}-{_EL[0]}',
                kernelopts='root=UUID=U ro net.ifnames=0')})

    def test_rescue_entry_of_rhel(self):
        rescue = f'/boot/loader/entries/{_MACHINE}-0-rescue.conf'
        self.assert_boots(_EL[1], _EL[1], _kernels(*_EL) | _entries(*_EL) | {
            '/boot/grub2/grub.cfg': _RHEL,
            rescue: f'title R\nlinux /vmlinuz-0-rescue-{_MACHINE}\n'})

    def test_entries_without_grub(self):
        """systemd-boot, whose loader.conf has a pattern."""
        for folder in ('/boot/loader', '/efi/loader', '/boot/efi/loader'):
            files = _kernels(*_EL) | _entries(*_EL, folder=folder)
            self.assert_boots(_EL[1], _EL[1], files)
            self.assert_boots(_EL[2], _EL[2], files | {
                f'{folder}/loader.conf':
                    f'timeout 3\ndefault {_MACHINE}-5.14.0-570*\n'})

    def test_kernels_in_folders_of_systemd_boot(self):
        release = '6.12.4-arch1-1'
        self.assert_boots(release, 'quiet', {
            f'/boot/{_MACHINE}/{release}/linux': b'',
            f'/lib/modules/{release}/modules.dep': b'',
            f'/boot/loader/entries/{_MACHINE}-{release}.conf':
                f'linux /{_MACHINE}/{release}/linux\noptions root=x quiet\n'})

    def test_several_lines_of_options(self):
        self.assert_boots('6.1.0-9-amd64', 'a b', _TWO | {
            '/boot/loader/entries/x.conf':
                'linux /vmlinuz-6.1.0-9-amd64\n'
                'options a\noptions b\n'})

    def test_arch(self):
        """The kernel in /boot has no release in its name."""
        release = '6.18.1-arch1-1'
        files = {'/boot/vmlinuz-linux': _named(release),
                 f'/lib/modules/{release}/modules.dep': b'',
                 '/boot/grub/grub.cfg':
                     'set default="0"\n'
                     "menuentry 'Arch Linux' {\n"
                     '  linux /boot/vmlinuz-linux root=UUID=U rw loglevel=3\n'
                     '}\n'}
        self.assert_boots(release, 'loglevel=3', files)
        self.assert_boots(release, 'loglevel=3', files | {
            f'/lib/modules/{release}/vmlinuz': _named(release)})

    def test_alpine(self):
        release = '6.6.31-0-virt'
        self.assert_boots(release, 'modules=ext4 quiet', {
            '/boot/vmlinuz-virt': _named(release),
            f'/lib/modules/{release}/modules.dep': b'',
            '/boot/extlinux.conf':
                'DEFAULT menu.c32\nTIMEOUT 10\n'
                'LABEL virt\n  MENU LABEL Linux virt\n'
                '  LINUX vmlinuz-virt\n  INITRD initramfs-virt\n'
                '  APPEND root=UUID=U modules=ext4 quiet\n'})

    def test_labels_of_extlinux(self):
        self.assert_boots('6.1.0-9-amd64', 'nine', _TWO | {
            '/boot/extlinux/extlinux.conf':
                'default old\n'
                'label new\n kernel /boot/vmlinuz-6.1.0-10-amd64\n'
                'label old\n kernel /boot/vmlinuz-6.1.0-9-amd64\n'
                ' append ro nine\n'})

    def test_paths_with_subvolumes_and_devices(self):
        for path in ('/@/boot/vmlinuz-6.1.0-9-amd64',
                     '/root/boot/vmlinuz-6.1.0-9-amd64',
                     '(hd0,gpt2)/vmlinuz-6.1.0-9-amd64',
                     'vmlinuz-6.1.0-9-amd64'):
            self.assert_boots('6.1.0-9-amd64', 'x', _TWO | {
                '/boot/grub/grub.cfg':
                    f'menuentry "a" {{\nlinux {path} x\n}}'})

    def test_link_to_a_kernel(self):
        self.assert_boots('6.1.0-9-amd64', 'x', _TWO | {
            '/vmlinuz': _named('6.1.0-9-amd64'),
            '/boot/grub/grub.cfg': 'menuentry "a" {\nlinux /vmlinuz x\n}'})

    def test_kernels_that_are_not_there(self):
        for path in ('/boot/vmlinuz-9.9', '/gone', '/boot/../etc/passwd',
                     '/x\n/y', '/' + 'x' * 9999, '(x', '()', ''):
            self.assert_boots(None, '', _TWO | {
                '/boot/grub/grub.cfg':
                    f'menuentry "a" {{\nlinux \'{path}\' x\n}}'})

    def test_quotes(self):
        self.assert_boots(
            '6.1.0-9-amd64', '"dyndbg=file a.c +p; file b.c +p" x=y z',
            _TWO | {
                '/boot/grub/grub.cfg':
                    'menuentry "a" {\nlinux /vmlinuz-6.1.0-9-amd64 ro dyndbg='
                    '"file a.c +p; file b.c +p" \'x=y\' "z"\n}'})

    def test_nothing_there(self):
        self.assert_boots(None, '', _TWO)

    def test_broken_menus(self):
        for text in ('{' * 5000, '}' * 5000, 'submenu x {\n' * 5000,
                     'menuentry {\n}\n', 'menuentry\n', 'submenu "a" {\n}\n',
                     'set\nset default\ndefault=\nblscfg\n' * 100,
                     'menuentry "x" {\nlinux\n}\n', 'if if if\nthen\n',
                     'menuentry x {\n}\n' * 5000, "'", '"', '$', '\\'):
            self.assert_boots(None, '', _TWO | {'/boot/grub/grub.cfg': text})

    def test_grub_defaults_in_more_files(self):
        """Ubuntu's cloud images have the console there."""
        tree = samples.Tree(_TWO | {
            '/etc/default/grub':
                'GRUB_CMDLINE_LINUX_DEFAULT="quiet splash"\n'
                'GRUB_CMDLINE_LINUX=""\n',
            '/etc/default/grub.d/50-cloudimg-settings.cfg':
                'GRUB_CMDLINE_LINUX_DEFAULT="console=tty1 console=ttyS0"\n',
            '/etc/default/grub.d/60-more.cfg':
                'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX more=1"\n',
            '/etc/default/grub.d/readme': 'GRUB_CMDLINE_LINUX=no\n'})
        self.assertEqual('more=1 console=tty1 console=ttyS0',
                         samples.kernel_args(tree, '6.1.0-9-amd64'))
