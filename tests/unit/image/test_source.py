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

import os
import random
import signal
import unittest

import fixtures

from nova_flexmem import exception
from nova_flexmem.image import source
from tests.unit.image import diskimages

MIB = diskimages.MIB
_BAD_DISK = diskimages.BAD_DISK


class InspectTest(diskimages.DiskImagesTestCase):

    def test_raw(self):
        path = self.write('disk', bytes(4096))
        self.assertEqual(source.Source(path, 'raw', 4096, (path,)),
                         self.inspect(path))

    def test_raw_with_partition_table(self):
        content = bytearray(4096)
        content[510:512] = b'\x55\xaa'
        path = self.write('disk', content)
        self.assertEqual('raw', self.inspect(path).format)

    def test_qcow2(self):
        path = self.qcow2('disk')
        self.assertEqual(source.Source(path, 'qcow2', 16384, (path,)),
                         self.inspect(path))

    def test_qcow2_compressed_and_of_version_2(self):
        for options in (('-c',), ('-o', 'compat=0.10')):
            path = self.qcow2('disk', b'data' * 4096, *options)
            self.assertEqual('qcow2', self.inspect(path).format)

    def test_name_that_qemu_would_take_for_a_protocol(self):
        os.chdir(self.folder)
        self.addCleanup(os.chdir, '/')
        self.write('nbd:localhost', bytes(512))
        self.assertEqual(self.path('nbd:localhost'),
                         self.inspect('nbd:localhost').path)

    def test_virtual_size_at_and_above_the_limit(self):
        path = self.path('disk')
        self.qemu_img('create', '-q', '-f', 'qcow2', path, '1M')
        self.assertEqual(MIB, self.inspect(path).virtual_size_bytes)
        self.assert_refused(path, 'above the limit', limit=MIB - 1)

    def test_huge_virtual_size_of_a_small_file(self):
        path = self.path('disk')
        self.qemu_img('create', '-q', '-f', 'qcow2', path, '1P')
        self.assert_refused(path, 'max_virtual_size_gib', limit=1 << 37)


class RefusedTest(diskimages.DiskImagesTestCase):

    def test_not_there(self):
        self.assert_refused(self.path('none'), 'No such file')

    def test_folder(self):
        self.assert_refused(self.folder, 'not a regular file')

    def test_fifo(self):
        os.mkfifo(self.path('fifo'))
        self.assert_refused(self.path('fifo'), 'not a regular file')

    def test_device(self):
        self.assert_refused('/dev/zero', 'not a regular file')

    @unittest.skipIf(os.geteuid() == 0, 'root may read any file')
    def test_unreadable(self):
        path = self.write('disk', bytes(512))
        os.chmod(path, 0)
        self.assert_refused(path, 'Permission denied')

    def test_bad_sectors(self):
        e = self.assertRaises(exception.BuildFailed, self.inspect, _BAD_DISK)
        self.assertIn(f'{_BAD_DISK} cannot be read: Input/output error',
                      str(e))

    def inspect_failing(self, **kwargs):
        """Inspect a disk that qemu-img fails on; return the exception."""
        def fail(*_args, **_kwargs):
            raise exception.ProgramFailed(program='qemu-img', **kwargs)

        path = self.write('disk', bytes(512))
        with fixtures.MonkeyPatch('nova_flexmem.process.run', fail):
            return self.assertRaises(exception.FlexMemException, self.inspect,
                                     path)

    def test_bad_sectors_under_the_header(self):
        e = self.inspect_failing(
            code=1, reason="qemu-img: Could not open 'disk': Input/output"
            ' error')
        self.assertIsInstance(e, exception.BuildFailed)
        self.assertIn('Input/output error', str(e))

    def test_what_the_image_is_to_blame_for(self):
        for code, reason in ((1, 'qemu-img: Could not open'),
                             (1, 'You can force-remove this metadata'),
                             (-signal.SIGXCPU, 'ended by signal 24'),
                             (-signal.SIGTRAP, 'GLib-ERROR: failed')):
            e = self.inspect_failing(code=code, reason=reason)
            self.assertIsInstance(e, exception.ImageRefused)
            self.assertIn(f'damaged: {reason.removeprefix("qemu-img: ")}',
                          str(e))

    def test_what_the_host_may_be_to_blame_for(self):
        for how in ({'code': -signal.SIGKILL, 'reason': 'ended by signal 9'},
                    {'code': 127, 'reason': 'qemu-img: error while loading'},
                    {'code': 1, 'reason': 'prlimit: failed to set'},
                    {'reason': 'no end after 300 s'},
                    {'reason': '[Errno 12] Cannot allocate memory'}):
            e = self.inspect_failing(**how)
            self.assertIsInstance(e, exception.BuildFailed)
            self.assertIn('qemu-img info: ', str(e))
            self.assertIn(how['reason'].removeprefix('qemu-img: '), str(e))

    def test_empty(self):
        self.assert_refused(self.write('disk', b''), 'not a')

    def test_text(self):
        self.assert_refused(self.write('disk', b'not an image\n'),
                            'not a disk image')

    def test_no_whole_sectors(self):
        self.assert_refused(self.write('disk', bytes(1000)), 'sectors')

    def test_qcow2_header_alone(self):
        with open(self.qcow2('disk'), 'rb') as f:
            header = f.read(100)
        self.assert_refused(self.write('disk', header), '')

    def test_qcow2_cut_short(self):
        content = random.Random(1).randbytes(MIB)
        whole = os.path.getsize(self.qcow2('disk', content))
        for size in (whole - 65536, whole // 2, 66000, 4096):
            self.qcow2('disk', content)
            os.truncate(self.path('disk'), size)
            self.assert_refused(self.path('disk'), '')

    def test_qcow2_with_damaged_tables(self):
        path = self.qcow2('disk', random.Random(1).randbytes(MIB))
        with open(path, 'r+b') as f:
            f.seek(3 * 65536)  # the L1 table of so small an image
            f.write(b'\xff' * 4096)
        self.assert_refused(path, 'damaged')

    def test_backing_file(self):
        path = self.overlay('disk', self.qcow2('below'))
        self.assert_refused(path, '--allow-backing-chain')

    def test_data_file(self):
        path = self.path('disk')
        self.qemu_img('create', '-q', '-f', 'qcow2', '-o',
                      f'data_file={self.path("data")}', path, '1M')
        self.assert_refused(path, 'data')
        self.assert_refused(path, 'data', allow_backing_chain=True)

    def test_vmdk_of_each_kind(self):
        for kind in ('monolithicFlat', 'twoGbMaxExtentFlat',
                     'monolithicSparse', 'streamOptimized'):
            path = self.path(f'{kind}.vmdk')
            self.qemu_img('create', '-q', '-f', 'vmdk', '-o',
                          f'subformat={kind}', path, '1M')
            self.assert_refused(path, '')

    def test_vmdk_that_the_inspector_does_not_expect(self):
        path = self.write('disk', b'# Disk DescriptorFile\n'.ljust(
            1024, b'\n') + b'\xff'.ljust(1024, b'\0'))
        self.assert_refused(path, 'not a usable disk image')

    def test_other_formats(self):
        for name in ('vdi', 'vhdx', 'vpc', 'qed'):
            path = self.path(name)
            self.qemu_img('create', '-q', '-f', name, path, '8M')
            self.assert_refused(path, '', limit=1 << 30)

    def test_luks(self):
        path = self.write('disk', (b'LUKS\xba\xbe\0\1').ljust(4096, b'\0'))
        self.assert_refused(path, '')


class ChainTest(diskimages.DiskImagesTestCase):

    def inspect(self, path, limit=MIB, allow_backing_chain=True):
        return super().inspect(path, limit,
                               allow_backing_chain=allow_backing_chain)

    def test_qcow2_on_qcow2_on_raw(self):
        raw = self.write('raw', bytes(MIB))
        middle = self.overlay('middle', raw, 'raw')
        top = self.overlay('top', middle)
        self.assertEqual(source.Source(top, 'qcow2', MIB,
                                       (top, middle, raw)),
                         self.inspect(top))

    def test_relative_name(self):
        below = self.qcow2('below')
        top = self.overlay('top', 'below')
        self.assertEqual((top, below), self.inspect(top).chain)

    def test_file_below_missing(self):
        top = self.overlay('top', self.path('none'))
        self.assert_refused(top, 'No such file', named=self.path('none'))

    def test_network_below(self):
        top = self.overlay('top', 'nbd://localhost/x')
        e = self.assertRaises(exception.ImageRefused, self.inspect, top)
        self.assertIn('No such file', str(e))

    def test_device_below(self):
        top = self.overlay('top', '/dev/zero', 'raw')
        self.assert_refused(top, 'not a regular file', named='/dev/zero')

    def test_wrong_format_below(self):
        below = self.qcow2('below')
        top = self.overlay('top', below, 'raw')
        self.assert_refused(top, f'{below} is raw, but that is qcow2')

    def test_other_format_below(self):
        below = self.path('below')
        self.qemu_img('create', '-q', '-f', 'vmdk', below, '1M')
        top = self.overlay('top', below, 'vmdk')
        self.assert_refused(top, 'vmdk', named=below)

    def test_data_file_below(self):
        below = self.path('below')
        self.qemu_img('create', '-q', '-f', 'qcow2', '-o',
                      f'data_file={self.path("data")}', below, '1M')
        self.assert_refused(self.overlay('top', below), 'data', named=below)

    def test_goes_round(self):
        other = self.path('other')
        top = self.overlay('top', other)
        self.overlay('other', top)
        with fixtures.Timeout(20, gentle=True):
            self.assert_refused(top, 'goes round')
        os.rename(self.overlay('other', top), top)
        with fixtures.Timeout(20, gentle=True):
            self.assert_refused(top, 'goes round')

    def test_too_long(self):
        self.qcow2('0')
        for number in range(1, 17):
            self.overlay(str(number), self.path(str(number - 1)))
        self.inspect(self.path('15'))
        self.assert_refused(self.path('16'), 'longer than 16')

    def test_cut_short_below(self):
        below = self.qcow2('below', random.Random(1).randbytes(MIB))
        os.truncate(below, os.path.getsize(below) - 65536)
        self.assert_refused(self.overlay('top', below), '', named=below)
