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

import contextlib
import json
import os
import subprocess
from unittest import mock

import fixtures
import nova.conf
from nova import exception as nova_exception
from nova.virt.libvirt import imagebackend
from oslo_config import fixture as config_fixture
import testtools

from nova_flexmem import exception
from nova_flexmem.guest import delta
from nova_flexmem import process
from nova_flexmem.virt import filedisk
from nova_flexmem.virt import rootdisk

MIB = 1 << 20

#: Nova's image backends, and the format of disks that each has.
KINDS = (imagebackend.Flat, 'raw'), (imagebackend.Qcow2, 'qcow2')


def info(path, disk_format):
    return json.loads(subprocess.run(
        ['qemu-img', 'info', '--output=json', '-f', disk_format, path],
        check=True, stdout=subprocess.PIPE).stdout)


def provide(disk, size_bytes, snapshot=None):
    # in files the record is written down by whoever has the disk made
    return rootdisk.provide(disk, size_bytes, None, snapshot)


class RootDiskTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        for program in ('mke2fs', 'qemu-img'):
            if not process.available(program):
                self.skipTest(f'{program} is not installed')
        instances = self.useFixture(fixtures.TempDir()).path
        self.instance = mock.Mock(uuid='x')
        self.folder = os.path.join(instances, 'x')
        os.mkdir(self.folder)
        self.path = os.path.join(self.folder, 'disk')
        self.conf = self.useFixture(
            config_fixture.Config(nova.conf.CONF)).conf
        self.conf.set_override('instances_path', instances)

    def backend(self, kind):
        return kind(instance=self.instance, disk_name='disk')

    def disk(self, kind):
        return filedisk.FileDisk(self.instance, self.backend(kind))

    def remove(self):
        os.unlink(self.path)
        os.unlink(os.path.join(self.folder, 'disk.info'))

    def assert_delta(self, disk_format, size_bytes):
        raw = os.path.join(self.folder, 'raw')
        subprocess.run(['qemu-img', 'convert', '-f', disk_format, '-O', 'raw',
                        self.path, raw], check=True)
        subprocess.run(['/sbin/e2fsck', '-fn', raw], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found = info(self.path, disk_format)
        self.assertEqual(size_bytes, found['virtual-size'])
        self.assertNotIn('backing-filename', found)
        self.assertLess(found['actual-size'], 20 * MIB)

    def test_of_the_format_that_the_host_has(self):
        for kind, disk_format in KINDS:
            backend = self.backend(kind)
            self.assertTrue(provide(
                filedisk.FileDisk(self.instance, backend), 512 * MIB))
            self.assert_delta(disk_format, 512 * MIB)
            # and another nova-compute takes it for what it is
            self.assertEqual(disk_format, self.backend(kind).driver_format)
            self.remove()

    def test_one_that_is_there_grows_and_keeps_its_content(self):
        for kind, disk_format in KINDS:
            provide(self.disk(kind), 512 * MIB)
            self.assertFalse(provide(self.disk(kind), 600 * MIB))
            self.assert_delta(disk_format, 600 * MIB)
            # a smaller flavor never cuts it
            self.assertFalse(provide(self.disk(kind), 128 * MIB))
            self.assert_delta(disk_format, 600 * MIB)
            self.remove()

    def test_what_a_killed_nova_compute_left_does_not_matter(self):
        for name in ('disk.raw', 'disk.ready'):
            with open(os.path.join(self.folder, name), 'w') as f:
                f.write('torn')
        provide(self.disk(imagebackend.Qcow2), 512 * MIB)
        self.assert_delta('qcow2', 512 * MIB)
        self.assertNotIn('disk.raw', os.listdir(self.folder))

    def test_one_that_fails_leaves_nothing(self):
        self.assertRaises(exception.ProgramFailed, provide,
                          self.disk(imagebackend.Qcow2), 1)
        self.assertFalse([name for name in os.listdir(self.folder)
                          if name.startswith('disk') and
                          name != 'disk.info'])

    def test_from_a_snapshot(self):
        raw = os.path.join(self.folder, 'before')
        snapshot = os.path.join(self.folder, 'snapshot')
        delta.create(raw, 256 * MIB)
        subprocess.run(['debugfs', '-w', '-R', f'write {__file__} kept', raw],
                       check=True, stderr=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL,
                       env=os.environ | {'PATH': os.environ['PATH'] +
                                         ':/sbin:/usr/sbin'})
        subprocess.run(['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2',
                        raw, snapshot], check=True)
        provide(self.disk(imagebackend.Flat), 512 * MIB,
                contextlib.nullcontext(snapshot))
        self.assert_delta('raw', 512 * MIB)
        kept = subprocess.run(
            ['/sbin/debugfs', '-R', 'cat kept', self.path], check=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        with open(__file__, 'rb') as f:
            self.assertEqual(f.read(), kept)

    def hostile_snapshot(self):
        """Return a snapshot of a disk that begins like another format.

        Its backing file is one of the host's.
        """
        inner = os.path.join(self.folder, 'inner')
        snapshot = os.path.join(self.folder, 'snapshot')
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', '-b',
                        '/etc/hostname', '-F', 'raw', inner, '64M'],
                       check=True)
        subprocess.run(['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2',
                        inner, snapshot], check=True)
        return snapshot

    def test_from_a_host_with_raw_disks(self):
        provide(self.disk(imagebackend.Flat), 512 * MIB,
                contextlib.nullcontext(self.hostile_snapshot()))
        for size in (512 * MIB, 600 * MIB):  # as moved, and as grown later
            self.assertFalse(provide(
                self.disk(imagebackend.Qcow2), size))
            found = info(self.path, 'qcow2')
            self.assertNotIn('backing-filename', found)
            self.assertEqual(size, found['virtual-size'])
        with open(os.path.join(self.folder, 'disk.info')) as f:
            self.assertEqual({self.path: 'qcow2'}, json.load(f))
        raw = os.path.join(self.folder, 'raw')
        subprocess.run(['qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw',
                        self.path, raw], check=True)
        with open(os.path.join(self.folder, 'inner'), 'rb') as f:
            guests = f.read()
        with open(raw, 'rb') as f:
            self.assertEqual(guests, f.read(len(guests)))
        self.assertEqual({'disk', 'disk.info', 'inner', 'raw', 'snapshot'},
                         set(os.listdir(self.folder)))

    def test_a_snapshot_that_begins_like_another_format(self):
        snapshot = self.hostile_snapshot()
        for kind, disk_format in KINDS:
            provide(self.disk(kind), 512 * MIB,
                    contextlib.nullcontext(snapshot))
            self.assertNotIn('backing-filename', info(self.path, disk_format))
            self.assertEqual(disk_format, self.backend(kind).driver_format)
            self.assertFalse(provide(self.disk(kind), 600 * MIB))
            self.assertEqual(600 * MIB,
                             info(self.path, disk_format)['virtual-size'])
            self.remove()

    def test_of_a_large_flavor(self):
        snapshot = os.path.join(self.folder, 'snapshot')
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', snapshot,
                        '80G'], check=True)
        for kind, disk_format in KINDS:
            for size_gib in (80, 100):
                provide(self.disk(kind), size_gib << 30,
                        contextlib.nullcontext(snapshot))
                self.assertEqual(size_gib << 30, info(
                    self.path, disk_format)['virtual-size'])
            self.remove()

    def test_a_snapshot_that_is_too_large_or_that_leans_on_another_file(self):
        snapshot = os.path.join(self.folder, 'snapshot')
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', snapshot,
                        '1G'], check=True)
        self.assertRaises(
            nova_exception.FlavorDiskSmallerThanImage, provide,
            self.disk(imagebackend.Qcow2), 512 * MIB,
            contextlib.nullcontext(snapshot))
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', '-b',
                        '/etc/hostname', '-F', 'raw', snapshot, '64M'],
                       check=True)
        self.assertRaises(
            exception.ImageRefused, provide,
            self.disk(imagebackend.Qcow2), 512 * MIB,
            contextlib.nullcontext(snapshot))
        self.assertFalse(os.path.exists(self.path))
