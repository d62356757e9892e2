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

import json

import testtools

from nova_flexmem.guest import domain
from nova_flexmem.guest import ignoreshared
from nova_flexmem.guest import xmledit
from tests.unit.guest import test_domain

VERSIONS = ((6, 2), (7, 2), (8, 0), (8, 1), (10, 0), (10, 2), (11, 0), (12, 3))


def switch(version):
    return ignoreshared.switch(version, '/instances/a,b', '/store')


class SwitchTest(testtools.TestCase):

    def test_by_version(self):
        self.assertEqual(
            ['Pipe'] * 3 + ['File'] * 3 + ['Property'] * 2,
            [type(switch(version)).__name__ for version in VERSIONS])

    def test_commas_in_paths(self):
        self.assertIn('path=/instances/a,,b/flexmem-qmp',
                      switch((7, 2)).arguments()[1])

    def test_a_file_for_all_guests_is_not_written_to(self):
        self.assertFalse(switch((10, 0)).writes_script)
        self.assertIn('path=/dev/null', switch((10, 0)).arguments()[1])

    def test_script(self):
        commands = [json.loads(line)
                    for line in ignoreshared.SCRIPT.splitlines()]
        self.assertEqual(['qmp_capabilities', 'migrate-set-capabilities'],
                         [command['execute'] for command in commands])
        self.assertEqual(
            {'capabilities': [{'capability': 'x-ignore-shared',
                               'state': True}]}, commands[1]['arguments'])


class ArgumentsTest(testtools.TestCase):
    """Which domains get the arguments."""

    def transform(self, change='', **options):
        stock = test_domain.STOCK.replace('<vcpu>', change + '<vcpu>')
        return domain.transform(stock, test_domain.BOOT,
                                switch=switch((7, 2)).arguments(), **options)

    def test_given(self):
        for version in VERSIONS:
            self.assertTrue(ignoreshared.is_given(domain.transform(
                test_domain.STOCK, test_domain.BOOT,
                switch=switch(version).arguments())), version)
        self.assertFalse(ignoreshared.is_given(domain.transform(
            test_domain.STOCK, test_domain.BOOT)))

    def test_not_with_virtio_pmem(self):
        self.assertFalse(ignoreshared.is_given(
            self.transform(device='virtio-pmem')))

    def test_not_where_ram_is_shared(self):
        self.assertTrue(ignoreshared.is_given(self.transform()))
        for change in (
                '<memoryBacking><source type="file"/></memoryBacking>',
                '<memoryBacking><source type="memfd"/></memoryBacking>',
                '<memoryBacking><access mode="shared"/></memoryBacking>',
                '<cpu><numa><cell id="0" cpus="0" memory="524288"'
                ' memAccess="shared"/></numa></cpu>'):
            self.assertFalse(ignoreshared.is_given(self.transform(change)),
                             change)

    def test_huge_pages_and_file_systems_of_the_host(self):
        for inside in ('<memoryBacking><hugepages/></memoryBacking>',
                       '<devices><filesystem type="mount">'
                       '<driver type="virtiofs"/></filesystem></devices>',
                       '<devices><interface type="vhostuser"/></devices>'):
            root = xmledit.parse(f'<domain>{inside}</domain>')
            self.assertTrue(ignoreshared.is_ram_shared(root), inside)

    def test_private_ram(self):
        root = xmledit.parse(
            '<domain><memoryBacking><source type="anonymous"/>'
            '<access mode="private"/></memoryBacking></domain>')
        self.assertFalse(ignoreshared.is_ram_shared(root))


class WithoutTest(testtools.TestCase):

    def test_arguments_of_every_version_go(self):
        others = ['-kernel', '/k', '-chardev', 'null,id=other', '-mon',
                  'chardev=other,mode=control', '-global',
                  'virtio-net.x=on']
        for version in VERSIONS:
            self.assertEqual(others, ignoreshared.without(
                others[:4] + switch(version).arguments() + others[4:]))
