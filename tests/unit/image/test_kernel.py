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

import gzip
import lzma
import struct

import testtools
import zstandard

from nova_flexmem import exception
from nova_flexmem.image import kernel
from tests.unit.image import samples
from tests.unit.image import test_bzimage

_RELEASE = '6.1.0-10-amd64'
_ELF = b'\x7fELF' + bytes(100)
_BUILTIN = ('overlay', 'ext4', 'erofs', 'virtio_pci', 'virtio_blk',
            'libnvdimm', 'nfit', 'nd_pmem')


def _builtin(names):
    return ''.join(f'kernel/x/{name}.ko\n' for name in names)


def _files(release=_RELEASE, builtin=_BUILTIN, dep='', **more):
    """Return the files of one installed kernel that can do everything."""
    folder = f'/lib/modules/{release}'
    return {f'/boot/vmlinuz-{release}': test_bzimage.make(),
            f'{folder}/modules.dep': dep,
            f'{folder}/modules.builtin': _builtin(builtin),
            **{f'{folder}/{path}': content
               for path, content in more.items()}}


class FindTest(testtools.TestCase):

    def find(self, files):
        return kernel.find(samples.Tree(files), '/images/disk.qcow2')

    def assert_refused(self, files, *causes):
        e = self.assertRaises(exception.ImageRefused, self.find, files)
        for words in ('/images/disk.qcow2: ', *causes):
            self.assertIn(words, str(e))
        self.assertNotIn('\n', str(e))

    def test_all_built_in(self):
        found = self.find(_files())
        self.assertEqual(_RELEASE, found.release)
        self.assertEqual(test_bzimage.make(), found.image)
        self.assertEqual(('erofs', 'ext4'), found.rootfs)
        self.assertEqual(('nvdimm',), found.devices)
        self.assertEqual((), found.modules)
        self.assertEqual((), found.others)

    def test_newest_counts_numbers_as_numbers(self):
        releases = ('6.1.0-9-amd64', '6.1.0-10-amd64', '5.15.0-100-generic',
                    '6.1.0-9-cloud-amd64', '6.1.0')
        files = {}
        for release in releases:
            files |= _files(release)
        found = self.find(files)
        self.assertEqual('6.1.0-10-amd64', found.release)
        self.assertEqual(('6.1.0-9-cloud-amd64', '6.1.0-9-amd64', '6.1.0',
                          '5.15.0-100-generic'), found.others)

    def test_kernel_in_the_folder_of_its_modules(self):
        files = _files()
        files[f'/lib/modules/{_RELEASE}/vmlinuz'] = files.pop(
            f'/boot/vmlinuz-{_RELEASE}')
        self.assertEqual(_RELEASE, self.find(files).release)

    def test_rest_of_a_removed_kernel_is_passed_over(self):
        files = _files() | {'/lib/modules/6.9.0/modules.dep': ''}
        self.assertEqual(_RELEASE, self.find(files).release)

    def test_names_that_are_no_releases(self):
        """They are tenants' bytes: none may lead out, or end in a crash."""
        files = _files()
        for name in ('..', '6.1\n', "6.1'; reboot '", '6.1 x', 'kernel',
                     '6\u00b2', '6.\u0663', '6' * 200):
            files |= _files(name)
        found = self.find(files)
        self.assertEqual((_RELEASE, ()), (found.release, found.others))

    def test_none(self):
        self.assert_refused({'/etc/passwd': ''}, 'no kernel in it')
        self.assert_refused({f'/boot/vmlinuz-{_RELEASE}': test_bzimage.make()},
                            'no kernel in it')

    def test_unified_kernel_image(self):
        for path in ('/boot/EFI/Linux/arch-linux.efi',
                     '/efi/EFI/Linux/debian-6.12.efi',
                     '/boot/efi/EFI/Linux/fedora.efi',
                     f'/lib/modules/{_RELEASE}/vmlinuz-virt.efi'):
            files = _files() | {path: b'MZ'}
            self.find(files)
            del files[f'/boot/vmlinuz-{_RELEASE}']
            self.assert_refused(files, 'part of a unified kernel image,'
                                f' {path}; install an ordinary kernel')

    def test_not_a_bzimage(self):
        for content in (b'', b'MZ', _ELF, bytes(4096),
                        test_bzimage.make()[:0x230]):
            self.assert_refused(
                _files() | {f'/boot/vmlinuz-{_RELEASE}': content},
                f'/boot/vmlinuz-{_RELEASE}', 'not a 64-bit x86')

    def test_bzimage_that_qemu_would_end_on(self):
        for content in (test_bzimage.make(kernel_64=0),
                        test_bzimage.make(loaded_high=0),
                        test_bzimage.make(protocol=0),
                        test_bzimage.make(protocol=0x20b),
                        test_bzimage.make(setup_sectors=7),
                        test_bzimage.make(setup_sectors=255),
                        test_bzimage.make(setup_sectors=0)[:2560]):
            self.assert_refused(
                _files() | {f'/boot/vmlinuz-{_RELEASE}': content},
                'not a 64-bit x86')
        self.find(_files() | {
            f'/boot/vmlinuz-{_RELEASE}': test_bzimage.make(setup_sectors=0)})

    def test_too_large(self):
        self.assertRaises(
            exception.ProgramFailed, self.find,
            _files() | {f'/boot/vmlinuz-{_RELEASE}': bytes((64 << 20) + 1)})

    def test_what_is_missing_is_named(self):
        for name, said in (('overlay', 'overlay'), ('ext4', 'ext4'),
                           ('virtio_blk', 'virtio_blk')):
            self.assert_refused(
                _files(builtin=[n for n in _BUILTIN if n != name]),
                _RELEASE, f'no support for {said};')

    def test_without_a_device_for_good(self):
        """Amazon Linux: no package of this kernel has what was not built."""
        for names in ('ACPI_NFIT', 'BLK_DEV_PMEM'):
            config = ''.join(f'CONFIG_{option}=y\n' for option in (
                'FS_DAX', 'NVDIMM_PFN', 'ACPI_NFIT', 'BLK_DEV_PMEM')
                if option != names)
            self.assert_refused(
                _files(builtin=_BUILTIN[:-2]) | {
                    f'/boot/config-{_RELEASE}': config},
                'no support for nvdimm or virtio-pmem; install a kernel')

    def test_without_dax(self):
        self.assert_refused(
            _files() | {f'/boot/config-{_RELEASE}':
                        '# CONFIG_FS_DAX is not set\n'}, 'CONFIG_FS_DAX')

    def test_devices(self):
        self.assertEqual(('nvdimm', 'virtio-pmem'), self.find(_files(
            builtin=[*_BUILTIN, 'virtio_pmem'])).devices)
        self.assertEqual(('virtio-pmem',), self.find(_files(
            builtin=['virtio_pmem', *_BUILTIN[:-2], 'nd_pmem'])).devices)

    def test_ext4_for_a_kernel_without_erofs(self):
        self.assertEqual(('ext4',), self.find(_files(
            builtin=[n for n in _BUILTIN if n != 'erofs'])).rootfs)

    def test_ext4_for_a_kernel_whose_erofs_has_no_dax(self):
        for release, rootfs in (('5.14.0', ('ext4',)),
                                ('5.4.0', ('ext4',)),
                                ('5.15.0', ('erofs', 'ext4')),
                                ('6.1', ('erofs', 'ext4'))):
            self.assertEqual(rootfs, self.find(_files(release)).rootfs)

    def test_erofs_module_tells_whether_it_has_dax(self):
        """RHEL 9.4 and later have it under the name 5.14."""
        for release, content, rootfs in (
                ('5.14.0-611.el9', b'\0fs_dax_get_by_bdev\0',
                 ('erofs', 'ext4')),
                ('5.14.0-427.el9', b'\0dax_iomap_fault\0',
                 ('erofs', 'ext4')),
                ('5.14.0-70.el9', b'', ('ext4',)),
                ('6.12.0', b'no_dax_iomap_fault_here', ('ext4',))):
            self.assertEqual(rootfs, self.find(_files(
                release, [n for n in _BUILTIN if n != 'erofs'],
                'k/erofs.ko.xz:\n', **{
                    'k/erofs.ko.xz': lzma.compress(_ELF + content)})).rootfs)

    def test_what_a_configuration_does_not_say_is_not_there(self):
        """Without ZONE_DEVICE, a configuration has no line for DAX at all."""
        full = ''.join(f'CONFIG_{option}=y\n' for option in (
            'EROFS_FS_XATTR', 'EROFS_FS_POSIX_ACL', 'EROFS_FS_SECURITY',
            'FS_DAX', 'NVDIMM_PFN'))
        place = f'/boot/config-{_RELEASE}'
        self.assertEqual(('erofs', 'ext4'),
                         self.find(_files() | {place: full}).rootfs)
        for option in ('FS_DAX', 'NVDIMM_PFN'):
            self.assert_refused(_files() | {
                place: full.replace(f'CONFIG_{option}=y\n', '')}, _RELEASE,
                f'CONFIG_{option}')
        for option in ('XATTR', 'POSIX_ACL', 'SECURITY'):
            self.assertEqual(('ext4',), self.find(_files() | {
                place: full.replace(f'CONFIG_EROFS_FS_{option}=y\n', '')}
            ).rootfs)

    def test_too_old(self):
        for release in ('4.15.0-213-generic', '3.10.0-1160.el7', '2.6.32'):
            self.assert_refused(_files(release), release, 'Linux 4.18')
        self.find(_files('4.18.0-553.el8_10.x86_64'))

    def test_the_default_is_taken(self):
        found = self.find(_files('6.1.0-9') | _files('6.1.0-10') | {
            '/boot/grub/grub.cfg':
                'menuentry "x" {\n'
                'linux /boot/vmlinuz-6.1.0-9 root=/dev/vda1 nine\n}\n'})
        self.assertEqual(('6.1.0-9', 'nine', ('6.1.0-10',), ()), (
            found.release, found.args, found.others, found.passed_over))

    def test_newest_by_the_package_manager(self):
        releases = ('5.14.0-611.el9', '5.14.0-611.5.1.el9_7')
        files = _files(releases[0]) | _files(releases[1])
        self.assertEqual(releases[1], self.find(files).release)
        self.assertEqual(releases[0], self.find(
            files | {'/var/lib/dpkg/status': ''}).release)

    def test_special_kernels_come_last(self):
        files = {}
        for release in ('6.1.0-9', '6.1.0-9+debug', '6.2.0-rc3', '6.1.0-9-rt',
                        '0-rescue-8d3f'):
            files |= _files(release)
        self.assertEqual('6.1.0-9', self.find(files).release)

    def test_the_newest_fit_one_where_the_default_is_not(self):
        files = {'/boot/grub/grub.cfg': 'menuentry "x" {\n'
                 'linux /boot/vmlinuz-6.1.0-9 x=9\n}\nmenuentry "y" {\n'
                 'linux /boot/vmlinuz-6.1.0-8 x=8\n}\n'}
        for release in ('6.1.0-7', '6.1.0-8'):
            files |= _files(release)
        for release in ('6.1.0-9', '6.1.0-10'):
            files |= _files(release, builtin=_BUILTIN[1:])
        found = self.find(files)
        self.assertEqual(('6.1.0-8', 'x=8'), (found.release, found.args))
        self.assertEqual(('6.1.0-10', '6.1.0-9', '6.1.0-7'), found.others)
        self.assertEqual(['6.1.0-9', '6.1.0-10'],
                         [release for release, _why in found.passed_over])
        for release, reason in found.passed_over:
            self.assertIn(f'its kernel {release} has no support for', reason)

    def test_the_default_is_named_where_none_is_fit(self):
        files = _files('6.1.0-9', builtin=_BUILTIN[1:]) | _files(
            '6.1.0-10', builtin=_BUILTIN[1:])
        self.assert_refused(files, '6.1.0-10')
        self.assert_refused(files | {
            '/boot/grub/grub.cfg':
                'menuentry "x" {\n'
                'linux /boot/vmlinuz-6.1.0-9 x\n}\n'}, '6.1.0-9')

    def test_kernel_whose_name_has_no_release(self):
        """Arch and Alpine; the kernel itself tells."""
        files = _files()
        content = bytearray(files.pop(f'/boot/vmlinuz-{_RELEASE}'))
        struct.pack_into('<H', content, 0x20e, 0x400)
        content[0x600:0x640] = f'{_RELEASE} (x@y) #1'.encode().ljust(64, b'\0')
        for name in ('vmlinuz-linux', 'vmlinuz-virt', 'bzImage'):
            self.assertEqual(_RELEASE, self.find(
                files | {f'/boot/{name}': bytes(content)}).release)
        content[0x600:0x640] = bytes(64)
        self.assert_refused(files | {'/boot/vmlinuz-linux': bytes(content)},
                            'no kernel in it')

    def test_ext4_for_a_kernel_whose_erofs_has_no_xattrs(self):
        for place in (f'/boot/config-{_RELEASE}',
                      f'/lib/modules/{_RELEASE}/config'):
            self.assertEqual(('ext4',), self.find(_files() | {
                place: '# CONFIG_EROFS_FS_XATTR is not set\n'}).rootfs)

    def _with_overlay(self, path, content):
        return _files(builtin=[n for n in _BUILTIN if n != 'overlay'],
                      dep=f'{path}:\n', **{path: content})

    def test_modules_arrive_decompressed(self):
        for suffix, compressed in (
                ('', _ELF), ('.xz', lzma.compress(_ELF)),
                ('.zst', zstandard.compress(_ELF)),
                ('.gz', gzip.compress(_ELF))):
            found = self.find(self._with_overlay(
                f'kernel/fs/overlay.ko{suffix}', compressed))
            self.assertEqual((('overlay', _ELF),), found.modules, suffix)

    def test_damaged_modules(self):
        for suffix, content in (
                ('', b'text'), ('.xz', b'text'), ('.zst', b'text'),
                ('.gz', b'text'), ('.xz', lzma.compress(b'text')),
                ('.xz', lzma.compress(_ELF)[:40]),
                ('.zst', zstandard.compress(_ELF)[:9]),
                ('.gz', gzip.compress(_ELF)[:15]), ('.ko', b'')):
            path = f'kernel/fs/overlay.ko{suffix.removeprefix(".ko")}'
            self.assert_refused(self._with_overlay(path, content), path)

    def test_module_that_decompresses_into_very_much(self):
        bomb = _ELF + bytes(40 << 20)
        for suffix, content in (('.xz', lzma.compress(bomb, preset=0)),
                                ('.zst', zstandard.compress(bomb)),
                                ('.gz', gzip.compress(bomb, 1))):
            path = f'kernel/fs/overlay.ko{suffix}'
            self.assert_refused(self._with_overlay(path, content), path)

    def test_modules_that_are_much_together(self):
        large = lzma.compress(_ELF + bytes(31 << 20), preset=0)
        files = _files(
            builtin=[n for n in _BUILTIN if n != 'overlay'],
            dep='k/overlay.ko.xz: ' + ' '.join(
                f'k/m{n}.ko.xz' for n in range(100)) + '\n' + ''.join(
                f'k/m{n}.ko.xz:\n' for n in range(100)),
            **{f'k/{name}.ko.xz': large
               for name in ('overlay', *(f'm{n}' for n in range(100)))})
        self.assert_refused(files, 'take over 128 MiB')

    def test_very_many_kernels(self):
        """Each is a question to the appliance; the newest count."""
        asked = []

        class Tree(samples.Tree):
            def is_file(self, path):
                asked.append(path)
                return super().is_file(path)

        files = _files('6.1.20000')
        files |= {f'/lib/modules/6.1.{n}/x': '' for n in range(20000)}
        found = kernel.find(Tree(files), '/images/disk.qcow2')
        self.assertEqual('6.1.20000', found.release)
        self.assertLess(len(asked), 300)

    def test_module_not_there(self):
        files = self._with_overlay('kernel/fs/overlay.ko', _ELF)
        del files[f'/lib/modules/{_RELEASE}/kernel/fs/overlay.ko']
        self.assert_refused(files, 'kernel/fs/overlay.ko', 'not there')

    def test_too_many_modules(self):
        dep = 'kernel/overlay.ko: ' + ' '.join(
            f'kernel/m{n}.ko' for n in range(300)) + '\n' + ''.join(
            f'kernel/m{n}.ko:\n' for n in range(300))
        self.assert_refused(
            _files(builtin=[n for n in _BUILTIN if n != 'overlay'], dep=dep),
            'modules.dep', 'over 200')
