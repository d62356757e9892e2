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

from nova_flexmem.bench import fiodisk
from nova_flexmem.demo import stock

#: ldd of Debian 12, shortened.
_LDD = """\
\tlinux-vdso.so.1 (0x00007ffaacd22000)
\tlibnuma.so.1 => /lib/x86_64-linux-gnu/libnuma.so.1 (0x00007ffaacd02000)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007ffaabc1e000)
\t/lib64/ld-linux-x86-64.so.2 (0x00007ffaacd24000)
\tlibceph-common.so.2 => /usr/lib/x86_64-linux-gnu/ceph/libceph-common.so.2 \
(0x00007ffaa2800000)
"""


class FioDiskTest(testtools.TestCase):

    def test_libraries(self):
        self.assertEqual(
            ['/lib/x86_64-linux-gnu/libnuma.so.1',
             '/lib/x86_64-linux-gnu/libc.so.6',
             '/lib64/ld-linux-x86-64.so.2',
             '/usr/lib/x86_64-linux-gnu/ceph/libceph-common.so.2'],
            fiodisk.libraries_in(_LDD))

    def test_attach(self):
        xml = stock.domain_xml(
            name='guest', uuid='0', domain_type='kvm',
            flavor=stock.Flavor(512, 1 << 30), folder=stock.Folder('/guest'),
            disk_format='qcow2', config_drive=False)
        root, disk = etree.fromstring(
            fiodisk.attach(xml, '/fio.iso')).findall('devices/disk')
        self.assertEqual('/guest/disk', root.find('source').get('file'))
        self.assertEqual('/fio.iso', disk.find('source').get('file'))
        self.assertIsNotNone(disk.find('readonly'))
