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

import dataclasses

from lxml import etree
import testtools

from nova_flexmem import exception
from nova_flexmem.guest import domain
from nova_flexmem.guest import xmledit
from tests.unit.guest import test_golden

BOOT = test_golden.BOOT

DISK = """
    <disk type="file" device="disk">
      <source file="/disk"/>
      <target bus="virtio" dev="vda"/>
    </disk>"""

STOCK = """<domain type="kvm">
  <name>web</name>
  <memory unit="MiB">512</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch="x86_64" machine="pc">hvm</type>
    <boot dev="hd"/>
  </os>
  <devices>DISK
  </devices>
</domain>""".replace('DISK', DISK)


def _arguments(xml):
    return etree.fromstring(xml).xpath(
        'q:commandline/q:arg/@value',
        namespaces={'q': 'http://libvirt.org/schemas/domain/qemu/1.0'})


class ReadOnlyTest(testtools.TestCase):
    """What keeps a guest from writing to the base of all the others."""

    def _option(self, name, value, boot=BOOT, **options):
        arguments = _arguments(domain.transform(STOCK, boot, **options))
        found = [text.split(',') for key, text in zip(arguments,
                                                      arguments[1:])
                 if key == name and text.startswith(f'{value},')]
        self.assertEqual(1, len(found), arguments)
        return found[0]

    def test_mapping_is_shared_and_read_only_with_every_device(self):
        for device in ('nvdimm', 'virtio-pmem'):
            option = self._option('-object', 'memory-backend-file',
                                  device=device)
            self.assertIn('readonly=on', option)
            self.assertIn('share=on', option)
            self.assertIn('align=2M', option)
            self.assertIn(f'mem-path={BOOT.root_pmem}', option)
            self.assertIn(f'size={BOOT.size_bytes}', option)
            self.assertFalse([word for word in option
                              if word.startswith(('prealloc', 'pmem='))])

    def test_nvdimm_is_unarmed(self):
        self.assertIn('unarmed=on', self._option('-device', 'nvdimm'))

    def test_nothing_else_in_the_domain_names_root_pmem(self):
        root = etree.fromstring(domain.transform(STOCK, BOOT))
        for argument in root.xpath('//*[local-name()="arg"]'):
            argument.set('value', '')
        self.assertNotIn('root.pmem', etree.tostring(root).decode())

    def test_path_can_not_smuggle_options(self):
        boot = dataclasses.replace(BOOT, root_pmem='/a,readonly=off')
        arguments = _arguments(domain.transform(STOCK, boot))
        backend = arguments[arguments.index('-object') + 1]
        self.assertIn('mem-path=/a,,readonly=off,size=', backend)


class TransformTest(testtools.TestCase):

    def _root(self, xml=STOCK, boot=BOOT, **options):
        return etree.fromstring(domain.transform(xml, boot, **options))

    def _line(self, boot=BOOT, xml=STOCK, **options):
        arguments = _arguments(domain.transform(xml, boot, **options))
        return arguments[arguments.index('-append') + 1]

    def test_small_per_cpu_memory_of_few_processors(self):
        for vcpus, is_small in (('1', True), ('2', True), ('3', False)):
            xml = STOCK.replace('<vcpu>1</vcpu>', f'<vcpu>{vcpus}</vcpu>')
            boot = dataclasses.replace(BOOT,
                                       kernel_args='percpu_alloc=embed')
            line = self._line(boot, xml)
            # of a word that is there twice, the last counts: the image's
            self.assertEqual(is_small, line.startswith(
                'percpu_alloc=page percpu_alloc=embed '), line)
            self.assertEqual(is_small, 'percpu_alloc=page' in line, line)

    def test_no_tests_of_ciphers_where_the_guest_is_emulated(self):
        self.assertNotIn('cryptomgr', self._line())
        boot = dataclasses.replace(BOOT, kernel_args='cryptomgr.notests=0')
        line = self._line(boot, STOCK.replace('"kvm"', '"qemu"'))
        # the image may say otherwise
        self.assertIn(' cryptomgr.notests cryptomgr.notests=0 ', line)

    def test_processors_that_can_be_added_count(self):
        xml = STOCK.replace('<vcpu>1</vcpu>', '<vcpu current="1">4</vcpu>')
        self.assertNotIn('percpu_alloc', self._line(xml=xml))

    def test_libvirt_does_not_learn_of_the_kernel(self):
        # it would give the files to QEMU's user while a guest runs
        root = self._root()
        self.assertEqual([], root.xpath('os/kernel | os/initrd'))
        arguments = _arguments(domain.transform(STOCK, BOOT))
        self.assertEqual(['-kernel', BOOT.kernel, '-initrd', BOOT.initramfs],
                         arguments[:4])

    def test_result_is_the_same_with_and_without_indentation(self):
        compact = ''.join(line.strip() for line in STOCK.splitlines())
        indented = domain.transform(STOCK, BOOT)
        self.assertEqual(
            ''.join(line.strip() for line in indented.splitlines()),
            domain.transform(compact, BOOT))

    def test_room_is_ram_and_device(self):
        maximum = self._root().find('maxMemory')
        self.assertEqual((512 << 10) + BOOT.size_bytes // 1024,
                         int(maximum.text))

    def test_room_is_there_whatever_the_unit(self):
        for unit, text in (('b', '536870912'), ('KiB', '524288'),
                           ('M', '512'), ('bytes', '536870911')):
            root = self._root(STOCK.replace('"MiB">512', f'"{unit}">{text}'))
            self.assertEqual('524288', root.find('cpu/numa/cell')
                             .get('memory'))

    def test_free_page_reporting_can_be_left_out(self):
        root = self._root(reporting_order=None)
        self.assertIsNone(root.find('devices/memballoon'))
        self.assertNotIn('reporting', self._line(reporting_order=None))

    def test_kernel_installed_in_the_guest(self):
        self.assertNotIn('flexmem.kernel', self._line())
        self.assertIn(' flexmem.kernel=own ', self._line(kernel='own'))
        # nothing that is installed there outlives a stop
        self.assertNotIn('flexmem.kernel', self._line(kernel='own',
                                                      writes='memory'))

    def test_letters_of_disks_where_writes_go_to_memory(self):
        volume = ('<disk type="block" device="disk"><source dev="/dev/v"/>'
                  '<target dev="{}" bus="{}"/></disk></devices>')
        for bus, letters in (('virtio', 'vd'), ('scsi', 'sd')):
            xml = STOCK.replace('"virtio"', f'"{bus}"').replace(
                'vda', f'{letters}a').replace(
                    '</devices>', volume.format(f'{letters}b', bus))
            before = xmledit.parse(xml).xpath('devices/disk/target/@dev')
            self.assertEqual([f'{letters}a', f'{letters}b'], before)
            root = self._root(xml, writes='memory')
            self.assertEqual(before, root.xpath('devices/disk/target/@dev'))
            zeros = root.find('devices/disk')
            self.assertEqual(BOOT.root_pmem, zeros.find('source').get('file'))
            self.assertEqual(
                {'type': 'storage', 'offset': '0', 'size': '4096'},
                dict(zeros.find('source/slices/slice').attrib))
            self.assertIsNotNone(zeros.find('readonly'))
        # QEMU has none there that are read-only
        self.assertEqual([], self._root(
            STOCK.replace('"virtio"', '"sata"'),
            writes='memory').xpath('devices/disk'))

    def test_memory_that_the_host_cannot_take_back(self):
        for inside in ('<hugepages/>', '<locked/>', '<nosharepages/><locked/>',
                       '<hugepages><page size="2048"/></hugepages>'):
            xml = STOCK.replace('<os>', f'<memoryBacking>{inside}'
                                        '</memoryBacking><os>')
            self.assertIsNone(self._root(xml).find('devices/memballoon'))
            self.assertNotIn('reporting', self._line(xml=xml))
        xml = STOCK.replace('<os>', '<memoryBacking><nosharepages/>'
                                    '</memoryBacking><os>')
        self.assertIsNotNone(self._root(xml).find('devices/memballoon'))

    def test_hard_limit_of_locked_memory(self):
        limit = '<memtune><hard_limit unit="MiB">700</hard_limit></memtune>'
        locked = '<memoryBacking><locked/></memoryBacking>'
        for inside, kib in ((limit, None), (locked, None), (
                limit + locked, (700 << 10) + BOOT.size_bytes // 1024)):
            found = self._root(STOCK.replace('<os>', f'{inside}<os>')).find(
                'memtune/hard_limit')
            if kib:
                self.assertEqual(('KiB', str(kib)),
                                 (found.get('unit'), found.text))
            elif found is not None:
                self.assertEqual(('MiB', '700'),
                                 (found.get('unit'), found.text))

    def test_smallest_piece_that_is_handed_back(self):
        self.assertIn(' flexmem.reporting_order=0 ', self._line())
        self.assertIn(' flexmem.reporting_order=9 ',
                      self._line(reporting_order=9))

    def test_direct_paths_are_one_word(self):
        line = self._line(direct_paths=('/srv/a', '/b'))
        self.assertIn(' flexmem.direct=/srv/a,/b ', line)

    def test_extra_words_come_last(self):
        line = self._line(extra_kernel_args='a b')
        self.assertTrue(line.endswith(' swiotlb=noforce a b'), line)

    def test_bounce_buffers_where_ram_may_lie_above_4_gib(self):
        for machine, mib, some in (
                ('pc', 3072, False), ('pc', 3583, False), ('pc', 3584, True),
                ('pc', 6144, True), ('pc-i440fx-7.2', 3583, False),
                ('pc-i440fx-7.2', 4096, True), ('q35', 2815, False),
                ('q35', 2816, True), ('pc-q35-7.2', 3072, True)):
            xml = STOCK.replace('"pc"', f'"{machine}"').replace(
                '>512<', f'>{mib}<')
            line = self._line(xml=xml)
            self.assertEqual(some, 'swiotlb' not in line, (machine, mib))
            self.assertNotIn('  ', line)

    def test_bounce_buffers_where_memory_may_be_plugged_in(self):
        xml = STOCK.replace('<memory', '<maxMemory slots="1" unit="MiB">1024'
                                       '</maxMemory><memory')
        self.assertNotIn('swiotlb', self._line(xml=xml))

    def test_command_line_may_have_2047_bytes(self):
        length = len(self._line(boot=dataclasses.replace(
            BOOT, kernel_args='')))
        boot = dataclasses.replace(BOOT, kernel_args='a' * (2046 - length))
        line = self._line(boot=boot)
        self.assertEqual(2047, len(line))


class RefusalTest(testtools.TestCase):

    def _refused(self, words, xml=STOCK, boot=BOOT, **options):
        e = self.assertRaises(exception.DomainRefused, domain.transform, xml,
                              boot, **options)
        self.assertIn(words, str(e))
        self.assertNotIn('\n', str(e))
        return str(e)

    def _refused_with(self, words, old, new):
        self.assertIn(old, STOCK)
        message = self._refused(words, STOCK.replace(old, new))
        self.assertTrue(message.startswith('domain web: '), message)

    def test_not_a_domain(self):
        self._refused('not an XML document', '<domain>')
        self._refused('<network> is not a libvirt domain', '<network/>')

    def test_flexmem_domain(self):
        self._refused('already', domain.transform(STOCK, BOOT))
        self._refused('already', domain.transform(STOCK, BOOT,
                                                  writes='memory'))

    def test_other_disk_with_the_serial_of_the_delta(self):
        disk = DISK.replace('</disk>', '<serial>flexmem-delta</serial></disk>')
        self._refused_with('already', '</devices>', f'{disk}</devices>')

    def test_other_architecture(self):
        self._refused_with('aarch64', 'x86_64', 'aarch64')

    def test_other_machine_types(self):
        for machine in ('microvm', 'isapc', 'pcx', 'virt', 'xenfv'):
            self._refused_with(f'machine type {machine}', 'machine="pc"',
                               f'machine="{machine}"')

    def test_other_hypervisors(self):
        self._refused_with('QEMU', 'type="kvm"', 'type="lxc"')
        self._refused_with('QEMU', '>hvm<', '>exe<')

    def test_kernel_of_its_own(self):
        self._refused_with('kernel of its own', '<boot dev="hd"/>',
                           '<kernel>/k</kernel>')

    def test_host_devices(self):
        for element in ('<hostdev mode="subsystem" type="pci"/>',
                        '<hostdev mode="subsystem" type="mdev"/>',
                        '<interface type="hostdev"/>',
                        '<interface type="vdpa"/>',
                        '<disk type="vhostvdpa"/>',
                        '<disk type="nvme"/>'):
            self._refused_with('host device', '</devices>',
                               f'{element}</devices>')

    def test_host_devices_that_are_allowed(self):
        def transform(xml, **boot):
            return domain.transform(
                xml, dataclasses.replace(BOOT, **boot), host_devices=True,
                switch=('-global', 'migration.x-ignore-shared=on'))

        for element in ('<hostdev mode="subsystem" type="pci"/>',
                        '<hostdev mode="subsystem" type="mdev"/>',
                        '<interface type="hostdev"/>'):
            xml = STOCK.replace('</devices>', f'{element}</devices>')
            changed = transform(xml)
            self.assertEqual(1, len(etree.fromstring(changed).xpath(
                'devices/hostdev | devices/interface')))
            # QEMU reports no page that VFIO has pinned, and cannot be moved
            for word in ('freePageReporting', 'x-ignore-shared'):
                self.assertNotIn(word, changed)
            # libvirt lets QEMU lock 1 GiB beside the RAM
            transform(xml, size_bytes=1 << 30)
            e = self.assertRaises(exception.DomainRefused, transform, xml,
                                  size_bytes=(1 << 30) + (2 << 20))
            self.assertIn('(1026 MiB) locked', str(e))
            transform(xml.replace('<vcpu>', '<memoryBacking><locked/>'
                                  '</memoryBacking><vcpu>'),
                      size_bytes=2 << 30)
            limit = ('<memtune><hard_limit unit="MiB">700</hard_limit>'
                     '</memtune>')
            raised = etree.fromstring(transform(
                xml.replace('<vcpu>', f'{limit}<vcpu>'), size_bytes=2 << 30))
            self.assertEqual(str((700 << 10) + (2 << 20)),
                             raised.findtext('memtune/hard_limit'))
        for element in ('<interface type="vdpa"/>', '<disk type="nvme"/>'):
            self.assertRaises(exception.DomainRefused, transform,
                              STOCK.replace('</devices>',
                                            f'{element}</devices>'))

    def test_encrypted_memory(self):
        self._refused_with('encrypted', '</domain>',
                           '<launchSecurity type="sev"/></domain>')

    def test_no_memory(self):
        memory = '<memory unit="MiB">512</memory>'
        self._refused_with('no memory', memory, '')
        for words in ('', '<!-- 512 -->', 'much'):
            self._refused_with('invalid literal', memory,
                               f'<memory>{words}</memory>')
        self._refused_with('no memory', memory, '<memory>0</memory>')

    def test_unknown_unit_of_memory(self):
        self._refused_with('unit PiBs', '"MiB"', '"PiBs"')

    def test_no_root_disk(self):
        self._refused_with('no root disk', DISK, '')
        self._refused_with('no root disk', 'device="disk"', 'device="cdrom"')

    def test_boot_from_cdrom(self):
        cdrom = '<disk type="file" device="cdrom"><boot order="1"/></disk>'
        self._refused_with('boots from a cdrom', '</devices>',
                           f'{cdrom}</devices>')

    def test_root_disk_on_the_network(self):
        for writes in ('disk', 'memory'):
            self._refused('of type network',
                          STOCK.replace('type="file"', 'type="network"'),
                          writes=writes)

    def test_root_disk_in_ceph(self):
        stock = STOCK.replace('type="file"', 'type="network"')
        for protocol in ('nbd', 'iscsi'):
            self._refused('of type network', stock.replace(
                '<source file=', f'<source protocol="{protocol}" name='))
        root = xmledit.parse(domain.transform(stock.replace(
            '<source file=', '<source protocol="rbd" name='), BOOT))
        self.assertEqual(domain.DELTA_SERIAL, root.xpath(
            'string(devices/disk[source/@protocol="rbd"]/serial)'))

    def test_root_disk_on_a_bus_the_initramfs_has_no_driver_for(self):
        for bus in ('sata', 'ide', 'usb'):
            self._refused_with(f'on bus {bus}', '"virtio"', f'"{bus}"')
        self._refused_with('controller model unknown', '"virtio"', '"scsi"')
        self._refused('controller model lsilogic', STOCK.replace(
            '"virtio"', '"scsi"').replace(
                '</devices>', '<controller type="scsi" index="0"'
                              ' model="lsilogic"/></devices>'))

    def test_direct_paths(self):
        for path in ('relative', '/', '/a/', '/a/../b', '/a//b', '/./a', '',
                     '/a b', '/a,b', "/a'b", '/a"b', '/a\nb', '/a\tb', '/$a',
                     '/a\n'):
            self._refused('directly on the delta', direct_paths=('/ok', path))

    def test_control_characters(self):
        for text in ('a\nb', 'a\x00b', 'a\x1b[2J', 'a\n', 'a\u2028b',
                     'a\udc80'):
            self._refused('control characters', extra_kernel_args=text)
            self._refused('control characters', boot=dataclasses.replace(
                BOOT, kernel_args=text))
            self._refused('control characters', boot=dataclasses.replace(
                BOOT, root_pmem=f'/{text}'))

    def test_command_line_over_2047_bytes(self):
        self._refused('x86 takes 2047', extra_kernel_args='a' * 2000)
        self._refused('x86 takes 2047', extra_kernel_args='ä' * 1000)

    def test_size_that_is_no_multiple_of_2_mib(self):
        for size_bytes in (0, 4096, (2 << 20) + 4096):
            self._refused('multiple of 2 MiB', boot=dataclasses.replace(
                BOOT, size_bytes=size_bytes))

    def test_relative_path(self):
        self._refused('absolute path', boot=dataclasses.replace(
            BOOT, kernel='kernel'))

    def test_unknown_device_and_writes_policy(self):
        self._refused("FlexMem device 'ivshmem'", device='ivshmem')
        self._refused("writes policy 'qcow2'", writes='qcow2')
