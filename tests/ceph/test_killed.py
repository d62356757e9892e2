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

"""A nova-compute that is killed while it makes or grows a delta."""

import os
import signal
import subprocess
import sys
import time

from nova.virt.libvirt import imagebackend

from nova_flexmem.virt import rootdisk
from tests.ceph import test_rootdisk

#: After which parts of the time that it takes; the first is before all.
_POINTS = [point / 9 for point in range(10)]

#: What is killed: as nova-compute does it, in a process of its own.
_PROGRAM = """\
import sys
from unittest import mock
import nova.conf
from nova import config
from nova.virt.libvirt import imagebackend
from nova_flexmem.virt import rbddisk, record, rootdisk
CONF = nova.conf.CONF
config.parse_args(['x', '--config-file', sys.argv[1]])
instance = mock.Mock(uuid=sys.argv[2], task_state=None)
disk = rbddisk.RbdDisk(instance, imagebackend.Rbd(
    instance=instance, disk_name='disk'))
stored = record.parse(sys.stdin.read(), 'stdin')
sys.stdout.write('x')
sys.stdout.flush()
if sys.argv[4] == 'resize':
    disk.begin_resize()
rootdisk.provide(disk, int(sys.argv[3]), stored)
"""


class KilledTest(test_rootdisk.CephTest):

    def setUp(self):
        super().setUp()
        self.nova_conf = os.path.join(self.instances, 'nova.conf')
        with open(self.nova_conf, 'w', encoding='ascii') as f:
            f.write(f'[DEFAULT]\ninstances_path = {self.instances}\n'
                    '[libvirt]\n')
            for name in ('images_type', 'images_rbd_pool', 'rbd_user',
                         'images_rbd_ceph_conf'):
                f.write(f'{name} = {getattr(self.conf.libvirt, name)}\n')

    def run_killed(self, instance, size_bytes, what, after_s):
        """Have a process make or grow a delta, and kill it.

        :param after_s: seconds from when it begins; None: it is not killed
        :returns: the seconds that it ran
        """
        with subprocess.Popen(
                [sys.executable, '-W', 'ignore', '-c', _PROGRAM,
                 self.nova_conf, instance.uuid, str(size_bytes), what],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE) as process:
            process.stdin.write(test_rootdisk.RECORD.text().encode())
            process.stdin.close()
            self.assertEqual(b'x', process.stdout.read(1))
            began = time.monotonic()
            if after_s is None:
                self.assertEqual(0, process.wait(), process.stderr.read())
            else:
                time.sleep(after_s)
                process.send_signal(signal.SIGKILL)
            return time.monotonic() - began

    def assert_whole(self, instance, size_bytes):
        self.assertEqual(
            {f'{instance.uuid}_disk'}, {
                name.partition('@')[0] for name in self.cluster.images()})
        self.assertEqual(size_bytes, self.cluster.size(self.image(instance)))
        self.assertEqual(test_rootdisk.RECORD, self.disk(instance).record())
        self.check(self.exported(instance))

    def test_while_it_makes_one(self):
        size = 300 * test_rootdisk.MIB
        whole = self.instance()
        took_s = self.run_killed(whole, size, 'spawn', None)
        self.disk(whole).remove()
        for point in _POINTS:
            instance = self.instance()
            self.run_killed(instance, size, 'spawn', point * took_s)
            # what has the disk's name is whole
            if self.disk(instance).exists():
                self.assertEqual(test_rootdisk.RECORD,
                                 self.disk(instance).record())
                self.check(self.exported(instance))
            rootdisk.provide(self.disk(instance), size, test_rootdisk.RECORD)
            self.assert_whole(instance, size)
            # and Nova's way of deleting leaves nothing
            self.disk(instance).remove()
            self.assertEqual(set(), self.cluster.images())

    def test_while_it_grows_one(self):
        small, large = 256 * test_rootdisk.MIB, 512 * test_rootdisk.MIB
        took_s = self.run_killed(self.made(small), large, 'resize', None)
        self.cluster.purge()
        for point in _POINTS:
            instance = self.made(small)
            self.run_killed(instance, large, 'resize', point * took_s)
            # the operator has Nova try again, and revert
            disk = self.disk(instance)
            disk.begin_resize()
            rootdisk.provide(disk, large, test_rootdisk.RECORD)
            self.assert_whole(instance, large)
            backend = imagebackend.Rbd(instance=instance, disk_name='disk')
            backend.rollback_to_snap('nova-resize')
            backend.remove_snap('nova-resize')
            self.assertIn(self.cluster.size(self.image(instance)),
                          (small, large))
            self.check(self.exported(instance))
            self.disk(instance).remove()
            self.assertEqual(set(), self.cluster.images())
