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

from lxml import etree
import testtools

from nova_flexmem import exception
from nova_flexmem.guest import rescue

GOLDEN = os.path.join(os.path.dirname(__file__), 'golden')


def read(name):
    with open(os.path.join(GOLDEN, name)) as f:
        return f.read()


class AttachBaseTest(testtools.TestCase):

    def attach(self, xml, **kwargs):
        return etree.fromstring(rescue.attach_base(
            xml, '/store/root.pmem', 2 << 20, 4096, **kwargs))

    def test_the_base_can_only_be_read(self):
        stock = read('q35.stock.xml')
        root = self.attach(stock)
        disk, = root.xpath('devices/disk[serial="flexmem-base"]')
        self.assertIsNotNone(disk.find('readonly'))
        self.assertEqual('raw', disk.find('driver').get('type'))
        source = disk.find('source')
        self.assertEqual('/store/root.pmem', source.get('file'))
        self.assertEqual({'model': 'dac', 'relabel': 'no'},
                         dict(source.find('seclabel').attrib))
        self.assertEqual(
            {'type': 'storage', 'offset': '2097152', 'size': '4096'},
            dict(source.find('slices/slice').attrib))

    def test_the_rest_stays(self):
        stock = read('q35.stock.xml')
        root = self.attach(stock)
        disk, = root.xpath('devices/disk[serial="flexmem-base"]')
        disk.getparent().remove(disk)
        self.assertEqual(
            etree.canonicalize(stock, strip_text=True),
            etree.canonicalize(etree.tostring(root, encoding='unicode'),
                               strip_text=True))

    def test_in_place_of_a_root_disk_that_there_is_none_of(self):
        stock = read('pc.stock.xml')
        root_disk, config_drive = etree.fromstring(stock).xpath(
            'devices/disk/source/@file')
        targets = etree.fromstring(stock).xpath('devices/disk/target/@dev')
        root = self.attach(stock, missing_disk=root_disk)
        self.assertEqual(['/store/root.pmem', config_drive],
                         root.xpath('devices/disk/source/@file'))
        self.assertEqual(targets, root.xpath('devices/disk/target/@dev'))
        # on a bus where it cannot be
        stock = stock.replace('"virtio"', '"sata"').replace("'virtio'",
                                                            "'sata'")
        root = self.attach(stock, missing_disk=root_disk)
        self.assertEqual([config_drive, '/store/root.pmem'],
                         root.xpath('devices/disk/source/@file'))

    def test_a_root_disk_in_ceph_that_there_is_none_of_goes(self):
        stock = read('pc.stock.xml')
        path = etree.fromstring(stock).xpath(
            'string(devices/disk/source/@file)')
        stock = stock.replace(f'file=\'{path}\'', 'name="vms/uuid_disk"')
        stock = stock.replace(f'file="{path}"', 'name="vms/uuid_disk"')
        self.assertIn('vms/uuid_disk', stock)
        root = self.attach(stock, missing_disk='vms/uuid_disk')
        self.assertEqual([], root.xpath('devices/disk/source/@name'))

    def test_it_takes_a_free_name(self):
        stock = read('q35.stock.xml')
        taken = etree.fromstring(stock).xpath('devices/disk/target/@dev')
        root = self.attach(stock)
        names = root.xpath('devices/disk/target/@dev')
        self.assertEqual(len(set(names)), len(names))
        self.assertEqual(len(taken) + 1, len(names))

    def test_no_name_is_free(self):
        root = etree.fromstring(read('q35.stock.xml'))
        devices = root.find('devices')
        for letter in 'abcdefghijklmnopqrstuvwxyz':
            disk = etree.SubElement(devices, 'disk')
            etree.SubElement(disk, 'target', dev=f'vd{letter}')
        e = self.assertRaises(exception.DomainRefused, self.attach,
                              etree.tostring(root, encoding='unicode'))
        self.assertIn('detach a volume', str(e))

    def test_no_name_has_to_be_free_in_a_missing_disk_s_place(self):
        root = etree.fromstring(read('pc.stock.xml'))
        root_disk = root.xpath('string(devices/disk/source/@file)')
        for letter in 'bcdefghijklmnopqrstuvwxyz':
            disk = etree.SubElement(root.find('devices'), 'disk')
            etree.SubElement(disk, 'target', dev=f'vd{letter}')
        xml = etree.tostring(root, encoding='unicode')
        self.assertEqual('vda', self.attach(
            xml, missing_disk=root_disk).xpath(
                'string(devices/disk[serial="flexmem-base"]/target/@dev)'))
