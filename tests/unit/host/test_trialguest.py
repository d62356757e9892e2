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

import fixtures
import testtools

from nova_flexmem import emulator
from nova_flexmem import exception
from nova_flexmem.host import trialguest
from nova_flexmem import hostboot
from nova_flexmem.image import kernel


class TrialGuestTest(testtools.TestCase):
    """Without a guest; the functional tests of the preflight boot it."""

    def setUp(self):
        super().setUp()
        self.home = self.useFixture(fixtures.TempDir()).path
        self.kernel = kernel.Kernel(
            '6.1.0', b'', ('erofs',), ('nvdimm', 'virtio-pmem'), (), ())
        self.booted = 0
        self.qemu = '/bin/sh'
        self.patch(trialguest.kernel_module, 'find', self._find)
        self.patch(trialguest, '_Files', lambda folder, _kernel: folder)
        self.patch(trialguest, '_boot', self._boot)

    def _find(self, _tree, _image):
        return self.kernel

    def _boot(self, _files, _device, _accel, _found):
        self.booted += 1

    def check(self, boots, device='nvdimm', accel='tcg'):
        """Check; it must boot a number of guests."""
        self.booted = 0
        found = emulator.Emulator(self.qemu, ('q35',), None)
        said = trialguest.check(found, self.home, device, accel, self.home)
        self.assertEqual(boots, self.booted, said)
        return said

    def test_once(self):
        self.check(1)
        self.assertIn('nothing has changed', self.check(0))

    def test_again_if_anything_is_another(self):
        self.check(1)
        self.check(1, device='virtio-pmem')
        self.check(1, accel='kvm')
        self.check(1)
        for module, name in ((hostboot, 'boot_id'),
                             (trialguest.bootfiles, 'boot_id'),
                             (trialguest.accel_module, 'newest_host_kernel')):
            with fixtures.MonkeyPatch(f'{module.__name__}.{name}',
                                      lambda: 'another'):
                self.check(1)
                self.check(0)
            self.check(1)

    def test_again_with_another_qemu(self):
        self.check(1)
        self.qemu = '/bin/cat'
        self.check(1)

    def test_a_guest_that_did_not_boot_is_not_recorded(self):
        def fail(*_args):
            raise exception.HostUnfit(reason='it hangs')

        with fixtures.MonkeyPatch('nova_flexmem.host.trialguest._boot', fail):
            self.assertRaises(exception.HostUnfit, self.check, 0)
        self.check(1)

    def test_no_driver_in_the_kernel(self):
        self.kernel = kernel.Kernel('6.1.0', b'', ('erofs',), ('nvdimm',), (),
                                    ())
        self.assertIn('no driver for virtio-pmem',
                      self.check(0, device='virtio-pmem'))

    def test_no_kernel_to_try(self):
        self.useFixture(fixtures.MonkeyPatch(
            'nova_flexmem.host.trialguest.kernel_module.find', _refuse))
        self.assertIn('no kernel in it', self.check(0))

    def test_what_tells_most(self):
        for said, told in (
                ('one\nflexmem: FATAL: no disk\nflexmem: FATAL: the guest'
                 ' cannot start; powering off\n[ 9] reboot: Power down\n',
                 'flexmem: FATAL: no disk'),
                ('[ 1] Kernel panic - not syncing: No init\n[ 2] end\n',
                 '[ 1] Kernel panic - not syncing: No init'),
                ('one\ntwo\n\n', 'two'), ('', 'nothing')):
            self.assertEqual(told, trialguest._last(said))


def _refuse(_tree, image):
    raise exception.ImageRefused(image=image, reason='no kernel in it')
