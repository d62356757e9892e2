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

import types

import testtools

from nova_flexmem.guest import basedisk
from nova_flexmem.guest import xmledit

_DOMAIN = """<domain><devices>
  <disk type="file" device="disk">
    <source file="/disk"/>
    <target dev="vda" bus="virtio"/>
    <address type="pci" slot="0x04"/>
  </disk>
</devices></domain>"""


class ZerosTest(testtools.TestCase):

    def domain(self, xml=_DOMAIN):
        root = xmledit.parse(xml)
        basedisk.put_zeros(root.find('devices/disk'), '/store/root.pmem')
        return root

    def test_where_the_root_disk_was(self):
        disk, = self.domain().findall('devices/disk')
        self.assertEqual('0x04', disk.find('address').get('slot'))
        self.assertEqual('vda', disk.find('target').get('dev'))
        self.assertEqual('/store/root.pmem', disk.find('source').get('file'))

    def test_not_where_it_could_be_written_to(self):
        root = self.domain(_DOMAIN.replace('bus="virtio"', 'bus="ide"'))
        self.assertEqual([], root.findall('devices/disk'))

    def test_moved(self):
        root = self.domain()
        basedisk.move_zeros(root, '/other/root.pmem')
        self.assertEqual(['/other/root.pmem'],
                         root.xpath('devices/disk/source/@file'))
        root = xmledit.parse(_DOMAIN)
        basedisk.move_zeros(root, '/other/root.pmem')
        self.assertEqual(['/disk'], root.xpath('devices/disk/source/@file'))

    def test_without(self):
        zeros = types.SimpleNamespace(serial=basedisk.ZEROS_SERIAL)
        others = [types.SimpleNamespace(serial='flexmem-delta'), object()]
        self.assertEqual(others, basedisk.without_zeros([zeros, *others]))
