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

"""Stock domain XML in, FlexMem domain XML out, read side by side.

golden/CASE.stock.xml is what transform() gets; golden/CASE.flexmem.xml is what
it must return. After an intended change, write the latter anew and review:

    NOVA_FLEXMEM_WRITE_GOLDEN=1 python -m unittest tests.unit.guest.test_golden
"""

import os
import pathlib

import testtools

from nova_flexmem.guest import domain
from nova_flexmem.guest import ignoreshared

_GOLDEN = pathlib.Path(__file__).parent / 'golden'

BOOT = domain.Boot(
    root_pmem='/var/lib/nova-flexmem/bases/6b2e/root.pmem',
    size_bytes=386 << 20,
    kernel='/var/lib/nova-flexmem/bases/6b2e/kernel',
    initramfs='/var/lib/nova-flexmem/bases/6b2e/initramfs',
    kernel_args='console=tty0 console=ttyS0,115200 quiet',
    base_uuid='0b4f7d7e-52b4-4d2e-9f6b-1f0b0f3c5a77',
    layout='5d1f0b7c92e4a6838f6b1e0f7a92c4d3', rootfs='erofs')


class GoldenTest(testtools.TestCase):

    def _check(self, stock, flexmem=None, **options):
        xml = (_GOLDEN / f'{stock}.stock.xml').read_text()
        path = _GOLDEN / f'{flexmem or stock}.flexmem.xml'
        result = domain.transform(xml, BOOT, **options) + '\n'
        if os.environ.get('NOVA_FLEXMEM_WRITE_GOLDEN'):
            path.write_text(result)
        self.assertEqual(path.read_text(), result)

    def test_pc_as_nova_writes_it(self):
        self._check('pc', direct_paths=('/var/lib/docker',
                                        '/var/lib/kubelet'))

    def test_pc_virtio_pmem(self):
        self._check('pc', 'pc-virtio-pmem', device='virtio-pmem')

    def test_pc_writes_to_memory(self):
        self._check('pc', 'pc-writes-memory', writes='memory')

    def test_q35_with_boot_order(self):
        self._check('q35', extra_kernel_args='flexmem.debug')

    def test_q35_virtio_pmem(self):
        self._check('q35', 'q35-virtio-pmem', device='virtio-pmem')

    def test_uefi(self):
        self._check('uefi')

    def test_numa_cells_and_pinning(self):
        self._check('numa')

    def test_dpdk_with_locked_huge_pages(self):
        # RAM that QEMU shares keeps it from moving
        self._check('dpdk', switch=('-incoming', 'no'))

    def test_qemu_commandline_of_the_operator(self):
        self._check('commandline')

    def test_virtio_scsi(self):
        self._check('virtio-scsi')

    def test_what_makes_it_movable_by_the_version_of_qemu(self):
        for version in ((7, 2), (10, 0), (11, 1)):
            switch = ignoreshared.switch(
                version, '/var/lib/nova/instances/'
                '5f8e2a3c-6d1b-4e53-9d7a-0c9f5b8e7a11',
                '/var/lib/nova-flexmem')
            self._check('pc', 'pc-qemu-{}.{}'.format(*version),
                        switch=switch.arguments())
