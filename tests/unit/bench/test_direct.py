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

from nova_flexmem.bench import direct
from nova_flexmem.demo import stock
from nova_flexmem import exception

#: As update-grub of Debian 12 writes it.
_MENU = """\
set linux_gfx_mode=
export linux_gfx_mode
menuentry 'Debian GNU/Linux' --class debian --class os {
\tload_video
\tinsmod gzio
\tif [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
\tsearch --no-floppy --fs-uuid --set=root 3b8f2a7e
\techo\t'Loading Linux 6.1.0-50-cloud-amd64 ...'
\tlinux\t/boot/vmlinuz-6.1.0-50-cloud-amd64 root=UUID=3b8f2a7e ro \
console=tty0 console=ttyS0,115200
\techo\t'Loading initial ramdisk ...'
\tinitrd\t/boot/initrd.img-6.1.0-50-cloud-amd64
}
menuentry 'Debian GNU/Linux (recovery mode)' {
\tlinux\t/boot/vmlinuz-6.1.0-50-cloud-amd64 root=UUID=3b8f2a7e ro single
\tinitrd\t/boot/initrd.img-6.1.0-50-cloud-amd64
}
"""


class DirectTest(testtools.TestCase):

    def test_first_entry(self):
        self.assertEqual(
            ('/boot/vmlinuz-6.1.0-50-cloud-amd64',
             'root=UUID=3b8f2a7e ro console=tty0 console=ttyS0,115200',
             '/boot/initrd.img-6.1.0-50-cloud-amd64'),
            direct.first_entry(_MENU, 'image'))

    def test_menu_that_names_none(self):
        for menu in ('', 'blscfg\n', '  linux /vmlinuz root=/dev/vda1\n',
                     '  linux /vmlinuz $kernelopts\n  initrd /initrd\n'):
            error = self.assertRaises(exception.BenchFailed,
                                      direct.first_entry, menu, 'the-image')
            self.assertIn('the-image', str(error))

    def test_transform(self):
        xml = stock.domain_xml(
            name='guest', uuid='0', domain_type='kvm',
            flavor=stock.Flavor(512, 1 << 30), folder=stock.Folder('/guest'),
            disk_format='qcow2', config_drive=False)
        changed = etree.fromstring(
            direct.Direct('/k', '/i', 'root=UUID=1 ro').transform(xml))
        system = changed.find('os')
        self.assertEqual(
            ['/k', '/i', 'root=UUID=1 ro'],
            [system.findtext(tag) for tag in ('kernel', 'initrd', 'cmdline')])
        for tag in ('kernel', 'initrd', 'cmdline'):
            system.remove(system.find(tag))
        self.assertEqual(
            etree.canonicalize(xml, strip_text=True),
            etree.canonicalize(etree.tostring(changed, encoding='unicode'),
                               strip_text=True))
