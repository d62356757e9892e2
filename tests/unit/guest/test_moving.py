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

import testtools

from nova_flexmem import exception
from nova_flexmem.guest import domain
from nova_flexmem.guest import ignoreshared
from nova_flexmem.guest import moving
from nova_flexmem.guest import qemuargs
from nova_flexmem.guest import xmledit
from tests.unit.guest import test_domain

SWITCHES = {version: ignoreshared.switch(version, '/i', '/store').arguments()
            for version in ((7, 2), (10, 0), (11, 1))}

PLACE = moving.Place('/other,store/root.pmem', '/other,store/kernel',
                     '/other/initramfs', SWITCHES[11, 1])


def xml(stock=test_domain.STOCK, version=(7, 2)):
    return domain.transform(stock, test_domain.BOOT,
                            switch=SWITCHES[version])


class MovedTest(testtools.TestCase):

    def test_the_place_of_a_domain(self):
        place = moving.place_of(xml())
        self.assertEqual(test_domain.BOOT.files,
                         (place.root_pmem, place.kernel, place.initramfs))

    def test_it_is_what_the_other_host_would_have_started(self):
        """With any version of QEMU on either side."""
        for here in SWITCHES:
            for there, switch in SWITCHES.items():
                place = moving.place_of(xml(version=there))
                place = moving.Place(place.root_pmem, place.kernel,
                                     place.initramfs, switch)
                self.assertEqual(
                    sorted(qemuargs.values(xmledit.parse(
                        xml(version=there)))),
                    sorted(qemuargs.values(xmledit.parse(moving.moved(
                        xml(version=here), place)))), (here, there))

    def test_a_store_at_another_path(self):
        result = moving.moved(xml(), PLACE)
        self.assertEqual(PLACE.root_pmem, moving.place_of(result).root_pmem)
        self.assertEqual(PLACE.kernel, moving.place_of(result).kernel)
        self.assertIn(f'size={test_domain.BOOT.size_bytes},share=on,'
                      'readonly=on', result)
        self.assertNotIn(test_domain.BOOT.root_pmem, result)
        self.assertTrue(ignoreshared.is_given(result))

    def test_back_again(self):
        place = moving.place_of(xml())
        back = moving.Place(place.root_pmem, place.kernel, place.initramfs,
                            SWITCHES[7, 2])
        self.assertEqual(
            qemuargs.values(xmledit.parse(xml())),
            qemuargs.values(xmledit.parse(
                moving.moved(moving.moved(xml(), PLACE), back))))

    def assert_refused(self, words, text, place=PLACE):
        e = self.assertRaises(exception.DomainRefused, moving.moved, text,
                              place)
        self.assertIn(words, str(e))

    def test_shared_ram(self):
        self.assert_refused('file_backed_memory', xml().replace(
            '<vcpu>', '<memoryBacking><access mode="shared"/>'
            '</memoryBacking><vcpu>'))

    def test_a_host_without_the_capability(self):
        self.assert_refused('x-ignore-shared', xml(), moving.Place(
            PLACE.root_pmem, PLACE.kernel, PLACE.initramfs))

    def test_a_stock_domain(self):
        self.assert_refused('no FlexMem device', test_domain.STOCK)

    def test_a_kernel_too_many(self):
        self.assert_refused('several', xml().replace(
            'value="-append"', 'value="-kernel"'))
