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

import gzip
import lzma
import os
import shutil
import struct
import subprocess

import fixtures
import testtools
import zstandard

from nova_flexmem.build import drivers
from nova_flexmem.build import packages
from nova_flexmem import exception
from nova_flexmem.image import modulefile
from nova_flexmem.store import driverpacks
from tests.unit.build import driversamples

_RELEASE = '6.8.0-51-generic'
_VERSION = '6.8.0-51.52'
_FOLDER = f'/lib/modules/{_RELEASE}/kernel/drivers/nvdimm'


def _modules(suffix='', compress=lambda content: content):
    """Return the files of a package like linux-modules-extra."""
    needs = {'nfit': ['libnvdimm'], 'nd_pmem': ['nd_btt', 'libnvdimm'],
             'nd-btt': ['libnvdimm'], 'unrelated': ['other'],
             'virtio_pmem': ['nd_virtio']}
    return {f'{_FOLDER}/{name}.ko{suffix}': compress(
        driversamples.module(_RELEASE, needed))
        for name, needed in needs.items()}


class DriversTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.packs = driverpacks.DriverPacks(
            self.useFixture(fixtures.TempDir()).path)

    def write(self, name, content):
        path = os.path.join(self.folder, name)
        with open(path, 'wb') as f:
            f.write(content)
        return path

    def import_file(self, name, content):
        return drivers.import_pack(self.packs, self.write(name, content))

    def assert_refused(self, content, *causes, name='x.deb'):
        e = self.assertRaises(exception.DriversRefused, self.import_file,
                              name, content)
        for words in (name, *causes):
            self.assertIn(words, str(e))
        self.assertEqual([], self.packs.all())


class ImportTest(DriversTestCase):

    def test_deb(self):
        for compress, suffix in ((gzip.compress, 'gz'),
                                 (lzma.compress, 'xz'),
                                 (zstandard.compress, 'zst'),
                                 (lambda content: content, '')):
            self.import_file('extra.deb', driversamples.deb(
                f'linux-modules-extra-{_RELEASE}', _VERSION,
                {f'.{path}': content for path, content in
                 _modules('.zst', zstandard.compress).items()},
                compress, suffix))
            pack, = self.packs.all()
            self.assertEqual(
                (_RELEASE, _VERSION, f'linux-modules-extra-{_RELEASE}'),
                (pack.release, pack.build, pack.package))
            self.assertEqual(['nd_btt', 'nd_pmem', 'nfit', 'virtio_pmem'],
                             sorted(pack.modules))
            self.assertEqual(['nd_btt', 'libnvdimm'],
                             pack.modules['nd_pmem'].needs)
            self.assertEqual(['extra.deb'], [*pack.sources])
            self.assertEqual(
                _RELEASE, modulefile.read(
                    self.packs.content(pack, 'nd_pmem')).release)
            self.packs.remove(pack)
            self.assertEqual([], self.packs.all())

    def test_deb_of_dpkg(self):
        if not shutil.which('dpkg-deb'):
            self.skipTest('dpkg-deb is not installed')
        root = os.path.join(self.folder, 'root')
        for path, content in _modules().items():
            os.makedirs(os.path.dirname(root + path), exist_ok=True)
            self.write(root + path, content)
        os.makedirs(f'{root}/DEBIAN')
        self.write('root/DEBIAN/control', (
            'Package: linux-modules-extra-x\nVersion: 1:2.3-4\n'
            'Architecture: amd64\nMaintainer: x <x@example.com>\n'
            'Description: x\n').encode())
        path = os.path.join(self.folder, 'made.deb')
        subprocess.run(['dpkg-deb', '--build', '--root-owner-group', root,
                        path], check=True, stdout=subprocess.DEVNULL)
        pack = drivers.import_pack(self.packs, path)
        self.assertEqual('1^2.3-4', pack.build)
        self.assertEqual(4, len(pack.modules))

    def test_rpm(self):
        for compress, payload in ((gzip.compress, 'gzip'),
                                  (lzma.compress, 'xz'),
                                  (zstandard.compress, 'zstd')):
            pack = self.import_file('x.rpm', driversamples.rpm(
                'kernel-default', '6.4.0', '150600.1.1',
                {f'/usr{path}': content for path, content in _modules(
                    '.xz', lzma.compress).items()}, compress, payload))
            self.assertEqual('6.4.0-150600.1.1', pack.build)
            self.assertEqual(4, len(pack.modules))

    def test_folder(self):
        folder = os.path.join(self.folder, 'modules')
        os.makedirs(f'{folder}/a/b')
        for path, content in _modules('.gz', gzip.compress).items():
            self.write(f'modules/a/b/{os.path.basename(path)}', content)
        os.symlink('/etc/passwd', f'{folder}/nd_virtio.ko')
        pack = drivers.import_pack(self.packs, folder)
        self.assertEqual((_RELEASE, ''), (pack.release, pack.package))
        self.assertEqual(4, len(pack.modules))
        self.assertEqual(pack, drivers.import_pack(self.packs, folder))
        self.assertEqual([pack], self.packs.all())

    def test_second_package_of_a_build_adds_to_it(self):
        files = _modules()
        first = dict([*files.items()][:1])
        for name, part in (('a.deb', first), ('b.deb', files)):
            self.import_file(name, driversamples.deb('x', _VERSION, part))
        pack, = self.packs.all()
        self.assertEqual({'a.deb', 'b.deb'}, pack.sources.keys())
        self.assertEqual(4, len(pack.modules))
        self.import_file('c.deb', driversamples.deb('x', '6.8.0-51.53', first))
        self.assertEqual([_VERSION, '6.8.0-51.53'],
                         [pack.build for pack in self.packs.all()])

    def test_nothing_of_use(self):
        self.assert_refused(driversamples.deb('x', '1', {'./a': b''}),
                            'no module in it that FlexMem guests need')

    def test_several_kernels(self):
        self.assert_refused(driversamples.deb('x', '1', {
            f'/lib/modules/{release}/{name}.ko': driversamples.module(release)
            for release, name in (('6.1', 'nfit'), ('6.2', 'nd_pmem'))}),
            'several kernels')


class HostilePackagesTest(DriversTestCase):

    def test_paths_that_lead_out(self):
        for path in ('/lib/modules/../../etc/nfit.ko', '../nfit.ko',
                     '/etc/nfit.ko', '/lib/modules/6.1/../../nfit.ko',
                     '/lib/modules/6.1/nfit.ko/x', '/lib/modules/nfit.ko'):
            self.assert_refused(driversamples.deb('x', '1', {
                path: driversamples.module('6.1')}), 'no module in it')

    def test_names_that_lead_out(self):
        module = driversamples.module('6.1')
        for version in ('..', '../../x', '', '/x', 'a/b', '.hidden'):
            self.assert_refused(driversamples.deb('x', version, {
                '/lib/modules/6.1/nfit.ko': module}))
        for release in ('../../x', '..', '/etc'):
            self.assert_refused(driversamples.deb('x', '1', {
                '/lib/modules/6.1/nfit.ko': driversamples.module(release)}))

    def test_names_of_needs_that_lead_out(self):
        pack = self.import_file('x.deb', driversamples.deb('x', '1', {
            '/lib/modules/6.1/nfit.ko': driversamples.module(
                '6.1', ['../../etc/passwd'], 'pre: /x post: y')}))
        self.assertEqual(['nfit'], [*pack.modules])

    def test_bombs(self):
        zeros = bytes(40 << 20)
        for content in (zeros, b'\x7fELF' + zeros):
            for suffix, compress in (('', bytes), ('.xz', lzma.compress),
                                     ('.zst', zstandard.compress)):
                self.assert_refused(driversamples.deb('x', '1', {
                    f'/lib/modules/6.1/nfit.ko{suffix}': compress(content)},
                    zstandard.compress, 'zst'))

    def test_damaged_packages(self):
        whole = {
            'x.deb': driversamples.deb('x', '1', _modules()),
            'x.rpm': driversamples.rpm('x', '1', '2', _modules())}
        for name, content in whole.items():
            for size in (0, 4, 8, 50, 100, 150, 200, 300, len(content) // 2):
                self.assert_refused(content[:size], name=name)
        self.assert_refused(b'text')
        self.assert_refused(driversamples.deb(
            'x', '1', _modules(), lambda content: b'text', 'xz'))
        self.assert_refused(driversamples.deb(
            'x', '1', _modules(), suffix='lz4'), 'compressed with lz4')

    def test_sizes_that_are_not_true(self):
        content = driversamples.tar({'lib/modules/6.1/nfit.ko': b'x'})
        for size in (b'77777777777\0', b'-0000000001\0',
                     b'\x80' + b'\xff' * 11):
            changed = content[:124] + size + content[136:]
            deb = driversamples.deb('x', '1', {})
            deb = deb[:deb.index(b'data.tar')] + (
                f'{"data.tar":16}{"":32}{len(changed):<10}`\n'.encode()
                + changed)
            self.assert_refused(deb)

    def test_a_long_header_of_an_rpm(self):
        content = bytearray(driversamples.rpm('x', '1', '2', _modules()))
        struct.pack_into('>II', content, 104, 0xffffff, 0xffffffff)
        self.assert_refused(bytes(content), 'too large', name='x.rpm')


class PacksTest(DriversTestCase):

    def test_changed_module(self):
        pack = self.import_file('x.deb', driversamples.deb('x', '1',
                                                           _modules()))
        path = os.path.join(self.packs._folder, pack.name, 'nfit.ko')
        os.chmod(path, 0o644)
        with open(path, 'ab') as f:
            f.write(b'x')
        e = self.assertRaises(exception.DriversRefused, self.packs.content,
                              pack, 'nfit')
        self.assertIn('import the package again', str(e))

    def test_damaged_facts_are_no_pack(self):
        pack = self.import_file('x.deb', driversamples.deb('x', '1',
                                                           _modules()))
        path = os.path.join(self.packs._folder, pack.name, 'pack.json')
        for text in ('', '{', '[]', '{}', 'null'):
            os.chmod(path, 0o644)
            with open(path, 'w') as f:
                f.write(text)
            self.assertEqual([], self.packs.all())

    def test_releases_that_are_no_names(self):
        for release in ('..', '/', '', 'a/b'):
            self.assertEqual([], self.packs.of_release(release))


class PackagesTest(DriversTestCase):

    def test_long_names(self):
        name = 'lib/modules/' + '/'.join(['long' * 20] * 5) + '/x'
        path = self.write('x.deb', driversamples.deb('x', '1', {name: b'12'}))
        self.assertEqual(
            [(name, 2, b'12')],
            [(found, size, read(9)) for found, size, read in
             packages.open_package(path).members()])


class ModuleFileTest(testtools.TestCase):

    def test_facts(self):
        facts = modulefile.read(driversamples.module(
            '6.1', ['a', 'b-c'], 'pre: d-e f post: g', {'printk': 5}))
        self.assertEqual(('6.1', ('a', 'b_c', 'd_e', 'f'), {b'printk': 5}),
                         (facts.release, facts.needs, facts.checksums))

    def test_broken(self):
        whole = driversamples.module('6.1', ['a'])
        for content in (b'', b'\x7fELF', whole[:63], whole[:100], whole[:-100],
                        whole.replace(b'vermagic', b'xermagic'),
                        whole[:16] + b'\2' + whole[17:],
                        whole[:60] + b'\xff\xff' + whole[62:],
                        whole[:62] + b'\xff\xff'):
            self.assertRaises(ValueError, modulefile.read, content)
