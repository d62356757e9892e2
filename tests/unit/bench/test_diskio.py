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

from lxml import etree
import testtools

from nova_flexmem.bench import diskio
from nova_flexmem.demo import stock


class DiskIoTest(testtools.TestCase):

    def test_with_writeback(self):
        """Of the root disk alone."""
        xml = stock.domain_xml(
            name='guest', uuid='0', domain_type='kvm',
            flavor=stock.Flavor(512, 1 << 30), folder=stock.Folder('/guest'),
            disk_format='qcow2', config_drive=True)
        changed = etree.fromstring(diskio.with_writeback(xml))
        self.assertEqual(
            ['writeback', 'none'],
            [driver.get('cache')
             for driver in changed.findall('devices/disk/driver')])
