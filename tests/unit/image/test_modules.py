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

from nova_flexmem.image import modules as modules_module


class ModulesTest(testtools.TestCase):

    def closure(self, names, dep='', builtin='', softdep='', alias=''):
        return modules_module.Modules(*(text.encode() for text in (
            dep, builtin, softdep, alias))).closure(names)

    def test_needs_come_first_and_once(self):
        dep = ('k/a.ko: k/b.ko k/c.ko\n'
               'k/b.ko: k/c.ko\n'
               'k/c.ko:\n'
               'k/d.ko: k/c.ko\n'
               'k/unasked.ko:\n')
        self.assertEqual(['k/c.ko', 'k/b.ko', 'k/a.ko', 'k/d.ko'],
                         self.closure(['a', 'd'], dep))

    def test_minus_and_underscore_are_the_same(self):
        dep = 'k/virtio-pmem.ko: k/nd_virtio.ko\nk/nd_virtio.ko:\n'
        self.assertEqual(['k/nd_virtio.ko', 'k/virtio-pmem.ko'],
                         self.closure(['virtio_pmem'], dep))
        modules = modules_module.Modules(dep.encode(), b'k/nd-btt.ko\n', b'',
                                         b'')
        self.assertIn('virtio_pmem', modules)
        self.assertIn('nd_btt', modules)
        self.assertNotIn('nfit', modules)

    def test_built_in_need_no_loading(self):
        self.assertEqual(['k/a.ko'], self.closure(
            ['a', 'b'], 'k/a.ko:\n', 'kernel/b.ko\n'))

    def test_names_that_are_not_there(self):
        self.assertEqual([], self.closure(['none']))

    def test_soft_dependency_before(self):
        self.assertEqual(
            ['k/crc.ko', 'k/ext4.ko'], self.closure(
                ['ext4'], 'k/ext4.ko:\nk/crc.ko:\nk/later.ko:\n', '',
                '# comment\nsoftdep ext4 pre: crc gone post: later\n'))

    def test_soft_dependency_by_alias(self):
        """ext4 wants "crypto-crc32c", which only modules.alias explains."""
        self.assertEqual(
            ['k/crc32c_generic.ko', 'k/ext4.ko'], self.closure(
                ['ext4'], 'k/ext4.ko:\nk/crc32c_generic.ko:\n', '',
                'softdep ext4 pre: crypto-crc32c\n',
                'alias crypto-crc32c crc32c_generic\nalias broken\n'))

    def test_compressed(self):
        dep = 'k/a.ko.xz: k/b.ko.zst\nk/b.ko.zst: k/c.ko.gz\nk/c.ko.gz:\n'
        self.assertEqual(['k/c.ko.gz', 'k/b.ko.zst', 'k/a.ko.xz'],
                         self.closure(['a'], dep))

    def test_loops_end(self):
        self.assertEqual({'k/a.ko', 'k/b.ko'}, set(self.closure(
            ['a'], 'k/a.ko: k/b.ko\nk/b.ko: k/a.ko\n', '',
            'softdep a pre: b\nsoftdep b pre: a\n')))
        self.assertEqual([], self.closure(
            ['x'], alias='alias x y\nalias y x\nalias x x\n'))

    def test_paths_that_lead_out_are_not_there(self):
        for path in ('../../../etc/a.ko', '/etc/a.ko', 'k/../../a.ko',
                     "k/'x'/a.ko", 'k/ x/a.ko', 'k/a.so', 'k/..a.ko',
                     'k//a.ko', 'a.ko/', 'k/a.ko.bz2', '\u043a/a.ko',
                     'k/' * 3000 + 'a.ko'):
            self.assertEqual([], self.closure(['a'], f'{path}:\n'), path)
            self.assertEqual(['k/b.ko'], self.closure(
                ['b'], f'k/b.ko: {path}\n'), path)

    def test_a_long_chain_is_too_many(self):
        for dep, softdep, alias in (
                (''.join(f'k/m{n}.ko: k/m{n + 1}.ko\n'
                         for n in range(5000)), '', ''),
                ('', '', ''.join(f'alias m{n} m{n + 1}\n'
                                 for n in range(5000)))):
            e = self.assertRaises(ValueError, self.closure, ['m0'], dep, '',
                                  softdep, alias)
            self.assertIn('200', str(e))

    def test_bytes_that_are_no_text(self):
        modules = modules_module.Modules(*[b'\xff\xfe\0: \xff\n:\n' * 9] * 4)
        self.assertEqual([], modules.closure(['a']))
