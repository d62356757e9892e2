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

"""The stock domain, and that it can become a FlexMem one."""

from lxml import etree
import testtools

from nova_flexmem.demo import stock
from nova_flexmem.guest import domain

_MIB = 1 << 20


def _xml(domain_type='qemu', disk_format='qcow2', cpu_model=None):
    return stock.domain_xml(
        name='guest-1', uuid='c7a5fdbd-edaf-9455-926a-d65c16db1809',
        domain_type=domain_type,
        flavor=stock.Flavor(512, 4096 * _MIB, cpu_model),
        folder=stock.Folder('/guests/1'), disk_format=disk_format,
        config_drive=True)


class StockTest(testtools.TestCase):

    def test_boots_the_way_nova_guests_do(self):
        root = etree.fromstring(_xml())
        self.assertEqual('pc', root.find('os/type').get('machine'))
        self.assertIsNone(root.find('os/kernel'))
        disk, config_drive = root.findall('devices/disk')
        self.assertEqual('qcow2', disk.find('driver').get('type'))
        self.assertEqual('/guests/1/disk', disk.find('source').get('file'))
        self.assertEqual('cdrom', config_drive.get('device'))
        self.assertEqual('ide', config_drive.find('target').get('bus'))
        balloon = root.find('devices/memballoon')
        self.assertEqual('on', balloon.get('freePageReporting'))
        # Nova's [libvirt] mem_stats_period_seconds
        self.assertEqual('10', balloon.find('stats').get('period'))

    def test_translated_code_is_bounded_under_tcg_only(self):
        self.assertIsNotNone(etree.fromstring(_xml()).find(
            'features/tcg/tb-cache'))
        kvm = etree.fromstring(_xml('kvm'))
        self.assertIsNone(kvm.find('features/tcg'))

    def test_cpu_is_the_host_model_or_the_one_asked_for(self):
        for domain_type in ('qemu', 'kvm'):
            cpu = etree.fromstring(_xml(domain_type)).find('cpu')
            self.assertEqual('host-model', cpu.get('mode'))
            cpu = etree.fromstring(
                _xml(domain_type, cpu_model='Nehalem')).find('cpu')
            self.assertEqual('custom', cpu.get('mode'))
            self.assertEqual('Nehalem', cpu.findtext('model'))

    def test_becomes_a_flexmem_domain(self):
        boot = domain.Boot(
            root_pmem='/base/root.pmem', size_bytes=2 * _MIB,
            kernel='/base/kernel', initramfs='/base/initramfs',
            kernel_args='console=ttyS0',
            base_uuid='7e44b694-bb05-5474-9b32-6c3e39335f55',
            layout='0' * 32, rootfs='erofs')
        for device in ('nvdimm', 'virtio-pmem'):
            text = domain.transform(_xml(disk_format='raw'), boot,
                                    device=device)
            self.assertIn('/base/kernel', text)
            root = etree.fromstring(text)
            self.assertEqual(
                ['/guests/1/disk', '/guests/1/disk.config'],
                [source.get('file') for source
                 in root.findall('devices/disk/source')])
            self.assertEqual('/guests/1/shell', root.find(
                'devices/serial[@type="unix"]/source').get('path'))
