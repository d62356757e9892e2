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

"""The disk with fio, as a guest sees it that has nothing else."""

import json
import os
import subprocess

import fixtures
import testtools

from nova_flexmem.bench import fiodisk


class FioDiskTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest('needs root, for chroot')

    def test_fio_needs_nothing_of_the_guest(self):
        folder = self.useFixture(fixtures.TempDir()).path
        disk = os.path.join(folder, 'disk.iso')
        fiodisk.create(disk)
        guest = os.path.join(folder, 'guest')
        os.makedirs(os.path.join(guest, 'tmp'))
        with open(os.path.join(guest, 'file'), 'wb') as f:
            f.write(bytes(1 << 20))
        subprocess.run(
            ['xorriso', '-osirrox', 'on', '-indev', disk, '-extract', '/',
             f'{guest}/run/flexmem-fio'], check=True,
            stderr=subprocess.DEVNULL)
        answer = subprocess.run(
            ['chroot', guest, *fiodisk.COMMAND.split(), '--name=job',
             '--filename=/file', '--readonly', '--rw=read', '--bs=4k',
             '--ioengine=mmap', '--output-format=json'],
            check=True, stdout=subprocess.PIPE).stdout
        job, = json.loads(answer)['jobs']
        self.assertEqual((0, 256), (job['error'], job['read']['total_ios']))
