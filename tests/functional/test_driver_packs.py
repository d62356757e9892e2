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

"""An image whose kernel lacks the FlexMem device's drivers, as Ubuntu's do."""

import os
import re
import subprocess

from oslo_utils import units

from nova_flexmem.build import builder
from nova_flexmem.build import drivers
from nova_flexmem import exception
from nova_flexmem.image import appliance
from nova_flexmem import process
from tests.functional import harness

#: Takes the modules away into a folder, as if they were of another package.
_TAKE_AWAY = r"""
    cd /sysroot/usr
    mkdir -p /sysroot/taken
    for name in libnvdimm nd_btt nd_pmem nd_virtio nfit virtio_pmem; do
        find lib/modules -name "$name.ko*" -exec cp --parents {} \
            /sysroot/taken \; -delete
        sed -i "/\/$name\.ko/d" lib/modules/*/modules.dep
    done
    sed -n '/^Package: linux-image-[0-9]/,/^$/p' \
        /sysroot/var/lib/dpkg/status | grep -E '^(Package|Version):'
"""

_CONTROL = """\
Package: linux-modules-extra
Version: {version}
Architecture: amd64
Maintainer: Tests <tests@example.com>
Description: the modules that were taken away
"""


class DriverPackTest(harness.GuestTestCase):

    layout = 'ext4'

    @classmethod
    def make_image(cls):
        below = super().make_image()
        path = os.path.join(cls.folder, 'lacking.qcow2')
        process.run('qemu-img', 'create', '-q', '-f', 'qcow2', '-F', 'qcow2',
                    '-b', below, path, timeout_s=60)
        taken = os.path.join(cls.folder, 'taken.tar')
        drive = appliance.Drive(path, 'qcow2', False, 'image')
        with appliance.Appliance(
                cls.store.folder('appliance'), [drive], timeout_s=900,
                file_size_bytes=units.Gi, below=(below,)) as a:
            a.command('mount', '/dev/sda3', '/')
            status = '\n'.join(a.shell(_TAKE_AWAY))
            a.command('tar-out', '/taken', taken)
            a.command('rm-rf', '/taken')
        cls.version = re.search(r'^Version: (\S+)', status, re.MULTILINE)[1]
        try:
            builder.build(cls.store, path, builder.Options(
                allow_backing_chain=True))
        except exception.ImageRefused as e:
            cls.refusal = str(e)
        else:
            cls.refusal = ''
        cls.pack = drivers.import_pack(cls.store.driver_packs,
                                       cls.make_package(taken))
        cls.addClassCleanup(cls.store.driver_packs.remove, cls.pack)
        return path

    @classmethod
    def make_package(cls, taken):
        """Return the path of a .deb of what is in a tar."""
        root = os.path.join(cls.folder, 'package')
        os.makedirs(os.path.join(root, 'DEBIAN'))
        with open(os.path.join(root, 'DEBIAN', 'control'), 'w',
                  encoding='ascii') as f:
            f.write(_CONTROL.format(version=cls.version))
        subprocess.run(['tar', '-C', root, '-xf', taken], check=True)
        path = os.path.join(cls.folder, 'extra.deb')
        subprocess.run(['dpkg-deb', '--build', '--root-owner-group', root,
                        path], check=True, stdout=subprocess.DEVNULL)
        return path

    def test_guest_boots_with_the_drivers_of_the_pack(self):
        release = self.base.manifest.kernel_release
        self.assertIn(
            f'its kernel {release} has no libnvdimm, nfit, nd_pmem; import'
            f' linux-image-{release} of version {self.version} with'
            ' "nova-flexmem drivers import"', self.refusal)
        manifest = self.base.manifest
        self.assertEqual(self.pack.sources, manifest.driver_pack['sources'])
        self.assertEqual({'nvdimm', 'virtio-pmem'}, {*manifest.devices})
        guest = self.start(self.launcher.flexmem('packed', self.boot))
        self.assertEqual([], guest.system_state().failed_units)
        guest.output('grep -q "^/dev/pmem0 /run/flexmem/lower .*dax=always"'
                     ' /proc/mounts && ! modinfo nd_pmem')
