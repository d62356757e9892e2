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

import glob
import os

import fixtures
import testtools

from nova_flexmem import accel


class KernelTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        folder = self.useFixture(fixtures.TempDir()).path
        self.kernels = [os.path.join(folder, f'vmlinuz-{number}')
                        for number in range(3)]
        for number, path in enumerate(self.kernels):
            open(path, 'w').close()
            os.utime(path, (number, number))
        self.patch(glob, 'glob', lambda _pattern: self.kernels)

    def test_newest_that_the_user_may_read(self):
        self.assertEqual(self.kernels[2], accel.newest_host_kernel())
        self.patch(os, 'access', lambda path, mode: path != self.kernels[2])
        self.assertEqual(self.kernels[1], accel.newest_host_kernel())

    def test_none(self):
        self.patch(os, 'access', lambda path, mode: False)
        self.assertIsNone(accel.newest_host_kernel())


class ForbiddenTest(testtools.TestCase):

    def test_a_device(self):
        self.patch(accel, '_DEVICE', '/dev/null')
        self.assertFalse(accel.kvm_forbidden())
        self.patch(os, 'access', lambda path, mode: False)
        self.assertTrue(accel.kvm_forbidden())

    def test_no_device(self):
        self.patch(os, 'access', lambda path, mode: False)
        for path in ('/nowhere/kvm', __file__):
            self.patch(accel, '_DEVICE', path)
            self.assertFalse(accel.kvm_forbidden())
