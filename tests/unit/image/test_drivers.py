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

"""Images that lack drivers, and the driver packs that have them."""

import fixtures
import testtools

from nova_flexmem.build import drivers
from nova_flexmem import exception
from nova_flexmem.image import kernel
from nova_flexmem.store import driverpacks
from tests.unit.build import driversamples
from tests.unit.image import samples
from tests.unit.image import test_bzimage

_RELEASE = '6.8.0-51-generic'
_VERSION = '6.8.0-51.52'
_FOLDER = f'/lib/modules/{_RELEASE}'
_SYMBOLS = {'printk': 5, 'module_layout': 7}


def _image(**more):
    """Return the files of an image like Ubuntu's: no nd_pmem, no nfit."""
    builtin = ('ext4', 'erofs', 'virtio_pci', 'virtio_blk', 'libnvdimm',
               'virtio')
    return {f'/boot/vmlinuz-{_RELEASE}': test_bzimage.make(),
            f'{_FOLDER}/modules.dep': 'kernel/overlay.ko:\n',
            f'{_FOLDER}/modules.builtin': ''.join(
                f'kernel/x/{name}.ko\n' for name in builtin),
            f'{_FOLDER}/kernel/overlay.ko': driversamples.module(
                _RELEASE, checksums=_SYMBOLS),
            '/etc/os-release': 'ID=ubuntu\nVERSION_ID="24.04"\n',
            '/var/lib/dpkg/status':
                'Package: linux-base\nVersion: 1\n\n'
                f'Package: linux-modules-{_RELEASE}\n'
                f'Status: install ok installed\nVersion: {_VERSION}\n\n',
            } | more


class DriverPackTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.packs = driverpacks.DriverPacks(
            self.useFixture(fixtures.TempDir()).path)

    def import_modules(self, *names, version=_VERSION, symbols=_SYMBOLS,
                       release=_RELEASE):
        needs = {'nd_pmem': ['nd_btt', 'libnvdimm'], 'nfit': ['libnvdimm'],
                 'virtio_pmem': ['nd_virtio', 'virtio']}
        path = f'{self.folder}/extra.deb'
        with open(path, 'wb') as f:
            f.write(driversamples.deb(
                f'linux-modules-extra-{release}', version,
                {f'/lib/modules/{release}/kernel/{name}.ko':
                 driversamples.module(release, needs.get(name, []),
                                      checksums=symbols) for name in names}))
        return drivers.import_pack(self.packs, path)

    def find(self, files=None):
        return kernel.find(samples.Tree(files or _image()), '/image',
                           self.packs)

    def assert_refused(self, sentence, files=None):
        e = self.assertRaises(exception.ImageRefused, self.find, files)
        self.assertEqual(f'/image: {sentence}', str(e))

    def test_the_package_to_import_is_named(self):
        self.assert_refused(
            f'its kernel {_RELEASE} has no nfit, nd_pmem; import'
            f' linux-modules-extra-{_RELEASE} of version {_VERSION} with'
            ' "nova-flexmem drivers import"')
        self.assert_refused(
            f'its kernel {_RELEASE} has no nfit, nd_pmem; import the package'
            ' of that kernel that has it with "nova-flexmem drivers import"',
            _image(**{'/etc/os-release': 'ID=other\n'}))

    def test_package_of_suse(self):
        self.assert_refused(
            f'its kernel {_RELEASE} has no nfit, nd_pmem; import'
            f' kernel-default-{_RELEASE} with "nova-flexmem drivers import"',
            _image(**{'/etc/os-release': 'ID="opensuse-leap"\n',
                      '/var/lib/dpkg/status': ''}))

    def test_modules_come_from_the_pack(self):
        pack = self.import_modules('nfit', 'nd_pmem', 'nd_btt', 'virtio_pmem',
                                   'nd_virtio', 'unrelated')
        found = self.find()
        self.assertEqual(('nvdimm', 'virtio-pmem'), found.devices)
        self.assertEqual(['overlay', 'nfit', 'nd_btt', 'nd_pmem', 'nd_virtio',
                          'virtio_pmem'],
                         [name for name, _content in found.modules])
        self.assertEqual(pack, found.driver_pack)

    def test_an_image_that_lacks_nothing_gets_none(self):
        self.import_modules('nfit', 'nd_pmem', 'virtio_pmem')
        found = self.find(_image(**{f'{_FOLDER}/modules.builtin': ''.join(
            f'k/{name}.ko\n' for name in (
                'ext4', 'erofs', 'virtio_pci', 'virtio_blk', 'libnvdimm',
                'nfit', 'nd_pmem'))}))
        self.assertIsNone(found.driver_pack)
        self.assertEqual(('nvdimm',), found.devices)

    def test_pack_of_another_build(self):
        self.import_modules('nfit', 'nd_pmem', version='6.8.0-51.51')
        e = self.assertRaises(exception.ImageRefused, self.find)
        self.assertIn(f'{_RELEASE}/6.8.0-51.51 is of another build', str(e))

    def test_pack_with_other_checksums(self):
        self.import_modules('nfit', 'nd_pmem', symbols={'printk': 6})
        e = self.assertRaises(exception.ImageRefused, self.find)
        self.assertIn('is of another build', str(e))

    def test_pack_of_another_release(self):
        self.import_modules('nfit', 'nd_pmem', release='6.8.0-52-generic')
        e = self.assertRaises(exception.ImageRefused, self.find)
        self.assertNotIn('imported already', str(e))

    def test_pack_that_lacks_some(self):
        self.import_modules('nfit')
        e = self.assertRaises(exception.ImageRefused, self.find)
        self.assertIn('has no nd_pmem)', str(e))
