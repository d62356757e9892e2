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

from nova_flexmem.guest import memory

_DOMAIN = """<domain type="{type}">
  {maximum}<memory unit="GiB">{gib}</memory>
  <os><type machine="{machine}">hvm</type></os>
  <cpu mode="{mode}">{bits}</cpu>
</domain>"""

_GIB = 1 << 30


class AddressesTest(testtools.TestCase):

    def check(self, gib, size_bytes=_GIB, machine='pc', type='qemu',
              maximum='', mode='host-model', bits=''):
        memory.check_addresses(etree.fromstring(_DOMAIN.format(
            gib=gib, machine=machine, type=type, maximum=maximum, mode=mode,
            bits=bits)), size_bytes)

    def refused(self, words, *args, **kwargs):
        e = self.assertRaises(ValueError, self.check, *args, **kwargs)
        self.assertIn(words, str(e))

    def test_flavors_of_all_days(self):
        for machine in ('pc', 'q35', 'pc-q35-7.2'):
            for gib in (1, 3, 4, 6, 64, 512):
                self.check(gib, machine=machine)

    def test_ram_up_to_the_last_address(self):
        self.check(1019)
        self.refused('end at address 1025 GiB', 1020)
        self.refused('40 bits, for 1024 GiB', 1020)

    def test_q35_has_more_addresses_for_devices(self):
        self.check(988, machine='q35')
        self.refused('1025 GiB', 989, machine='q35')

    def test_room_for_memory_that_is_plugged_in(self):
        # of QEMU 7.2 with 0.5 GiB of RAM and one slot, maxmem=1000G starts
        # on pc, and does not on q35; maxmem=1020G does not on pc
        self.check(1, maximum='<maxMemory slots="1" unit="GiB">1016'
                              '</maxMemory>')
        self.refused('bits', 1, maximum='<maxMemory slots="1" unit="GiB">1020'
                                        '</maxMemory>')
        self.refused('bits', 1, maximum='<maxMemory slots="8" unit="GiB">1010'
                                        '</maxMemory>')

    def test_bits_of_the_processor(self):
        wide = '<maxphysaddr mode="emulate" bits="46"/>'
        self.check(2000, bits=wide)
        self.refused('36 bits, for 64 GiB', 60,
                     bits='<maxphysaddr mode="emulate" bits="36"/>')
        self.patch(memory, 'host_address_bits', lambda: 46)
        self.check(2000, bits='<maxphysaddr mode="passthrough"/>')
        self.check(2000, type='kvm', mode='host-passthrough')
        self.refused('40 bits', 2000, type='qemu', mode='maximum')
        self.refused('40 bits', 2000, type='kvm', mode='custom')

    def test_bits_of_this_host(self):
        self.assertIn(memory.host_address_bits(), range(40, 58))
