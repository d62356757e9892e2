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

"""What the command lines of QEMU processes say, as seen on hosts."""

import os

import testtools

from nova_flexmem.host import processes

MIB = 1 << 20

#: Debian 12's libvirt 9.0, a stock guest, shortened
_STOCK = (
    '/usr/bin/qemu-system-x86_64', '-name',
    'guest=instance-00000001,debug-threads=on', '-S', '-object',
    '{"qom-type":"secret","id":"masterKey0","format":"raw"}', '-machine',
    'pc-i440fx-7.2,usb=off,dump-guest-core=off,memory-backend=pc.ram',
    '-m', '768', '-object',
    '{"qom-type":"memory-backend-ram","id":"pc.ram","size":805306368}',
    '-uuid', '08ff3106-abcc-44d0-bbf6-51e5a7a4c043', '-object',
    '{"qom-type":"rng-random","id":"objrng0","filename":"/dev/urandom"}', '')

#: and a FlexMem guest
_FLEXMEM = (
    '/usr/bin/qemu-system-x86_64', '-name',
    'guest=instance-00000002,debug-threads=on', '-machine',
    'pc-i440fx-7.2,usb=off,dump-guest-core=off', '-m',
    'size=524288k,slots=1,maxmem=681984k', '-object',
    '{"qom-type":"memory-backend-ram","id":"ram-node0","size":536870912}',
    '-numa', 'node,nodeid=0,cpus=0,memdev=ram-node0', '-uuid',
    'a5a711b9-7060-4c25-9f10-b410f4b488b8', '-machine', 'nvdimm=on',
    '-object', 'memory-backend-file,id=flexmem-base,mem-path=/x/root.pmem,'
    'size=161480704,share=on,readonly=on,align=2M', '-device',
    'nvdimm,id=flexmem-device,memdev=flexmem-base,slot=0,unarmed=on', '')

#: libguestfs's appliance
_APPLIANCE = ('/usr/bin/qemu-system-x86_64', '-machine', 'accel=tcg', '-m',
              '1280', '-object', 'rng-random,filename=/dev/urandom,id=rng0',
              '')


class CommandLineTest(testtools.TestCase):

    def _ram_mib(self, *words):
        qemu = processes.of_command_line(1, ['qemu', *words, ''])
        return [size / MIB for size in qemu.ram_bytes]

    def test_stock_guest_of_libvirt(self):
        self.assertEqual(
            processes.Qemu(7, 'instance-00000001',
                           '08ff3106-abcc-44d0-bbf6-51e5a7a4c043',
                           (768 * MIB,)),
            processes.of_command_line(7, _STOCK))

    def test_flexmem_device_is_no_ram(self):
        self.assertEqual(
            processes.Qemu(8, 'instance-00000002',
                           'a5a711b9-7060-4c25-9f10-b410f4b488b8',
                           (512 * MIB,)),
            processes.of_command_line(8, _FLEXMEM))

    def test_no_name_and_no_uuid(self):
        self.assertEqual(processes.Qemu(9, '', '', (1280 * MIB,)),
                         processes.of_command_line(9, _APPLIANCE))

    def test_sizes(self):
        self.assertEqual([512], self._ram_mib('-m', '512'))
        self.assertEqual([2048], self._ram_mib('-m', '2G'))
        self.assertEqual([64], self._ram_mib('-m', 'size=65536k,slots=2'))
        self.assertEqual([], self._ram_mib('-m', 'much'))
        self.assertEqual([], self._ram_mib())

    def test_numa_nodes(self):
        self.assertEqual([1024, 2], self._ram_mib(
            '-m', '1026', '-object', 'memory-backend-ram,id=a,size=1G',
            '-object', 'memory-backend-memfd,id=b,size=2097152,share=on',
            '-numa', 'node,memdev=a', '-numa', 'node,memdev=b'))

    def test_one_that_only_looks_like_qemu(self):
        for word in ('{x', '{web}', '{"a"', '{' * 100):
            self.assertEqual(
                processes.Qemu(1, word, '', ()), processes.of_command_line(
                    1, ['qemu-kvm', '-object', word, '-numa', word, '-name',
                        word, '']))

    def test_name_with_a_comma(self):
        for value in ('a,,b,debug-threads=on', 'guest=a,,b'):
            self.assertEqual('a,b', processes.of_command_line(
                1, ['qemu', '-name', value, '']).name)


class KvmTest(testtools.TestCase):

    def test_this_process_runs_no_guest(self):
        self.assertFalse(processes.uses_kvm(os.getpid()))
