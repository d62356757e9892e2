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

"""Estimates for real processes that stand for QEMU: Python, by its name."""

import hashlib
import json
import os
import subprocess
import sys
import textwrap
import uuid

import fixtures
import testtools

from nova_flexmem import exception
from nova_flexmem.host import balloon
from nova_flexmem.host import estimate
from nova_flexmem.host import estimate_instances
from nova_flexmem.host import estimate_sample
from nova_flexmem.host import processes

PAGE = 4096
MIB = 1 << 20

_RAM_MIB = 64
_OTHER_MIB = 8

#: Has pages of a file in its RAM, and pages of its own.
_QEMU = textwrap.dedent(f'''\
    import mmap, os, sys
    kind, image, first, end = sys.argv[1], *sys.argv[2:5]
    size = {_RAM_MIB * MIB}
    if kind == 'private':
        ram = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        ram.madvise(mmap.MADV_NOHUGEPAGE)
    else:
        file = os.memfd_create('ram', os.MFD_HUGETLB if kind == 'huge' else 0)
        os.truncate(file, size)
        ram = mmap.mmap(file, size)
    if kind != 'huge':
        with open(image, 'rb') as f:
            f.seek(int(first) * 4096)
            ram.write(f.read((int(end) - int(first)) * 4096))
        ram.write(os.urandom({_OTHER_MIB * MIB}))
    print(flush=True)
    sys.stdin.read()
''')


class _Qemu:
    """A process that the kernel calls qemu-system-x86."""

    def __init__(self, folder, image, pages, *, kind='private',
                 blockdevs=None, name='guest=instance-1,debug-threads=on'):
        program = os.path.join(folder, 'qemu-system-x86_64')
        if not os.path.exists(program):
            os.symlink(os.path.realpath(sys.executable), program)
        self.uuid = str(uuid.uuid4())
        words = []
        for fields in (overlay(image) if blockdevs is None else blockdevs):
            words += ['-blockdev', json.dumps(fields)]
        self._popen = subprocess.Popen(
            [program, '-I', '-S', '-c', _QEMU, kind, image,
             *map(str, pages), '-name', name, '-uuid', self.uuid, '-m',
             f'size={_RAM_MIB << 10}k', *words], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self._popen.pid
        self._popen.stdout.readline()

    def end(self):
        self._popen.kill()
        self._popen.communicate()


def overlay(image, number=2):
    """Return the block devices of libvirt 9.0 for an overlay on an image."""
    return [
        {'driver': 'file', 'filename': image, 'discard': 'unmap',
         'node-name': f'libvirt-{number}-storage', 'auto-read-only': True},
        {'node-name': f'libvirt-{number}-format', 'read-only': True,
         'driver': 'raw', 'file': f'libvirt-{number}-storage'},
        {'driver': 'file', 'filename': '/x/disk',
         'node-name': f'libvirt-{number - 1}-storage'},
        {'node-name': f'libvirt-{number - 1}-format', 'read-only': False,
         'driver': 'qcow2', 'file': f'libvirt-{number - 1}-storage',
         'backing': f'libvirt-{number}-format'}]


class EstimateTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        self.folder = self.useFixture(fixtures.TempDir('/var/tmp')).path
        self.patch(balloon, 'unused_bytes', lambda: {})
        self.ids = {}
        self.patch(estimate_instances, 'image_ids', lambda: self.ids)
        running = processes.running
        self.pids = set()  # no others that this host may run
        self.patch(processes, 'running', lambda: [
            qemu for qemu in running() if qemu.pid in self.pids])
        self.stages = []

    def _image(self, image_id, *parts, image_format='raw'):
        """Put an image into the cache; return its path."""
        path = os.path.join(self.folder, hashlib.sha1(
            image_id.encode()).hexdigest())
        raw = path if image_format == 'raw' else f'{path}.raw'
        with open(raw, 'wb') as f:
            f.write(b''.join(parts))
        if image_format == 'qcow2':
            subprocess.run(['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2',
                            '-c', raw, path], check=True, timeout=60)
        return path

    def _start(self, image, pages=(0, 0), **how):
        qemu = _Qemu(self.folder, image, pages, **how)
        self.addCleanup(qemu.end)
        self.pids.add(qemu.pid)
        return qemu

    def _measure(self, **options):
        return estimate.measure(
            estimate.Options(max_virtual_size_bytes=64 * MIB,
                             cache=self.folder, **options),
            lambda stage, part: self.stages.append((stage, part)))

    def _left_out(self):
        """Return why the only instance was left out."""
        taken = self._measure()
        self.assertEqual([], taken.instances)
        [sentence] = taken.left_out
        return sentence

    def test_instances_of_images(self):
        first = self._image('first', os.urandom(6 * MIB), bytes(MIB))
        second = self._image('second', os.urandom(4 * MIB))
        qemus = [self._start(first, (0, 1024)), self._start(first, (512, 768)),
                 self._start(second, (0, 256))]
        self.ids[qemus[0].uuid] = self.ids[qemus[1].uuid] = 'first'
        taken = self._measure()
        self.assertEqual([], taken.left_out)
        images = {image.image: image for image in taken.images}
        # the third's id is not known
        self.assertEqual({'first', second}, set(images))
        self.assertEqual((6 * MIB, 4 * MIB), (images['first'].data_bytes,
                                              images[second].data_bytes))
        self.assertEqual(
            [(qemus[0].pid, 4 * MIB), (qemus[1].pid, MIB)],
            [(each.instance.qemu.pid, each.of_image.estimate)
             for each in images['first'].instances])
        [third] = images[second].instances
        self.assertEqual((MIB, (1 + _OTHER_MIB) * MIB, (1 + _OTHER_MIB) * MIB),
                         (third.of_image.low, third.ram_bytes,
                          third.read_bytes))
        self.assertIn(('reading image first', 1.0), self.stages)
        self.assertIn(('sampling 2 instances of image first', 0.5),
                      self.stages)

    def test_pages_that_images_have_in_common(self):
        common = os.urandom(4 * MIB)
        revisions = [self._image(name, common, os.urandom(2 * MIB))
                     for name in ('old', 'new')]
        other = self._image('other', os.urandom(MIB))
        for path in (*revisions, other):
            self._start(path)
        taken = self._measure()
        in_others = {image.path: image.in_others_bytes
                     for image in taken.images}
        self.assertEqual(0, in_others[other])
        for path in revisions:
            self.assertTrue(2 * MIB < in_others[path] < 6 * MIB, in_others)
        self.assertEqual(in_others[revisions[0]], taken.more_than_once_bytes)

    def test_qcow2_in_the_cache(self):
        # it can be compressed
        content = b''.join(os.urandom(1024).hex().encode() * 2
                           for _page in range(512))
        path = self._image('first', content, image_format='qcow2')
        self._start(f'{path}.raw', (0, 512), blockdevs=overlay(path))
        [each] = self._measure().instances
        self.assertEqual(2 * MIB, each.of_image.estimate)

    def test_sample(self):
        path = self._image('first', os.urandom(8 * MIB))
        self._start(path, (0, 2048))
        [each] = self._measure(sample_pages=512).instances
        self.assertEqual(2 * MIB, each.read_bytes)
        self.assertTrue(each.of_image.low < 8 * MIB < each.of_image.high)
        self.assertLess(each.of_image.high - each.of_image.low, 2 * MIB)

    def test_free_memory_that_the_process_holds(self):
        path = self._image('first', os.urandom(8 * MIB))
        known = self._start(path, (0, 2048))
        self._start(path)  # its balloon reports nothing
        # it uses 12 of 64 MiB, and has 8 of the image and 8 of its own
        self.patch(balloon, 'unused_bytes',
                   lambda: {known.uuid: (_RAM_MIB - 12) * MIB})
        first, second = self._measure().instances
        self.assertEqual((4 * MIB, None), (first.free_bytes,
                                           second.free_bytes))
        # a quarter of the image's pages is free as well; and 128 KiB are for
        # the page structs of 8 MiB
        self.assertEqual(6 * MIB + 4 * MIB - MIB // 8, first.saved.estimate)
        self.assertEqual(-MIB // 8, second.saved.estimate)
        first, _second = self._measure(free_returned=False).instances
        self.assertIsNone(first.free_bytes)
        self.assertEqual(8 * MIB - MIB // 8, first.saved.estimate)

    def test_memory_that_was_never_used(self):
        path = self._image('first', os.urandom(MIB))
        qemu = self._start(path, (0, 256))
        self.patch(balloon, 'unused_bytes', lambda: {qemu.uuid: MIB})
        [each] = self._measure().instances
        self.assertEqual(0, each.free_bytes)

    def test_disk_that_is_no_overlay(self):
        path = self._image('first', os.urandom(MIB))
        qemu = self._start(path, (0, 256), blockdevs=[])
        self.assertIn('not made from an image', self._left_out())
        self.ids[qemu.uuid] = 'first'
        [each] = self._measure().instances
        self.assertEqual(MIB, each.of_image.estimate)

    def test_an_image_that_left_the_cache(self):
        path = self._image('first', os.urandom(MIB))
        self._start(path)
        os.unlink(path)
        sentence = self._left_out()
        self.assertIn(f'instance-1 was left out: its image {path} is not in'
                      " Nova's image cache any more", sentence)
        self.assertIn('openstack aggregate cache image', sentence)

    def test_an_image_that_cannot_be_read(self):
        path = self._image('first', b'x' * 100)
        self._start(path)
        self.assertIn('not a disk image', self._left_out())

    def test_an_ephemeral_disk(self):
        path = self._image('first', os.urandom(MIB))
        ephemeral = os.path.join(self.folder, 'ephemeral_1_0706d66')
        with open(ephemeral, 'wb') as f:
            f.truncate(MIB)
        self._start(path, (0, 256), blockdevs=[*overlay(ephemeral, 4),
                                               *overlay(path, 2)])
        [image] = self._measure().images
        self.assertEqual(path, image.path)

    def test_an_instance_of_a_snapshot(self):
        """Nova names the image that the snapshot was made from."""
        path = self._image('snapshot', os.urandom(MIB))
        qemu = self._start(path, (0, 256))
        self.ids[qemu.uuid] = 'first'
        [image] = self._measure().images
        self.assertEqual((path, path), (image.image, image.path))

    def test_an_instance_of_a_volume(self):
        qemu = self._start('/dev/null', blockdevs=[{
            'driver': 'host_device', 'filename': '/dev/sda',
            'node-name': 'libvirt-1-storage'}])
        self.ids[qemu.uuid] = ''
        self.assertIn('boots from a volume', self._left_out())

    def test_an_instance_that_ends_before(self):
        path = self._image('first', os.urandom(MIB))
        qemu = self._start(path)
        [known] = processes.running()
        qemu.end()
        self.patch(processes, 'running', lambda: [known])
        self.assertIn('instance-1 was left out: it ended meanwhile',
                      self._left_out())

    def test_an_instance_that_ends_meanwhile(self):
        path = self._image('first', os.urandom(MIB))
        stays, ends = self._start(path, (0, 256)), self._start(path)
        take = estimate_sample.take

        def end(pid, *args):
            if pid == ends.pid:
                ends.end()
            return take(pid, *args)

        self.patch(estimate_sample, 'take', end)
        taken = self._measure()
        self.assertEqual([stays.pid], [each.instance.qemu.pid
                                       for each in taken.instances])
        [sentence] = taken.left_out
        self.assertIn('it ended meanwhile', sentence)

    def test_huge_pages(self):
        with open('/proc/sys/vm/nr_hugepages') as f:
            before = f.read()
        if int(before) < _RAM_MIB // 2:
            self.skipTest('this host has no free huge pages')
        self._start('', kind='huge', blockdevs=overlay(
            self._image('first', os.urandom(MIB))))
        self.assertIn('hw:mem_page_size', self._left_out())

    def test_shared_ram(self):
        path = self._image('first', os.urandom(MIB))
        self._start(path, (0, 256), kind='shared')
        [each] = self._measure().instances
        self.assertEqual(MIB, each.of_image.estimate)

    def test_an_instance_with_flexmem(self):
        self._start(self._image('first', os.urandom(MIB)),
                    name='guest=/store/bases/x/root.pmem')
        self.assertIn('FlexMem already', self._left_out())

    def test_ram_that_is_not_known(self):
        self._start(self._image('first', os.urandom(MIB)))
        [qemu] = processes.running()
        self.patch(processes, 'running', lambda: [
            processes.Qemu(qemu.pid, '', '', (1 << 40,))])
        self.assertIn(f'process {qemu.pid} was left out: its RAM',
                      self._left_out())

    def test_not_allowed(self):
        self._start(self._image('first', os.urandom(MIB)))

        def refuse(path, *_flags):
            raise PermissionError(13, 'Permission denied', path)

        self.patch(estimate.os, 'open', refuse)
        error = self.assertRaises(exception.EstimateFailed, self._measure)
        self.assertIn('as root', str(error))
        self.assertNotIn('FlexMem instances', str(error))
