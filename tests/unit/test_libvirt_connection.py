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

import contextlib
import io

import libvirt
import testtools

from nova_flexmem import libvirt_connection

#: libvirt's own driver for tests, which needs no daemon.
_TEST = 'test:///default'


class ReadOnlyTest(testtools.TestCase):

    def test_looks_but_does_not_touch(self):
        with libvirt_connection.read_only(_TEST) as connection:
            domain = connection.lookupByName('test')
            self.assertTrue(domain.isActive())
            self.assertRaises(libvirt.libvirtError, domain.destroy)
            self.assertTrue(domain.isActive())

    def test_closed_afterwards(self):
        def fail():
            with libvirt_connection.read_only(_TEST) as connection:
                self.opened = connection
                raise LookupError('mine')

        self.assertRaises(LookupError, fail)
        self.assertRaises(libvirt.libvirtError, self.opened.listAllDomains)

    def test_no_answer(self):
        """An error is raised, and not printed beside."""
        printed = io.StringIO()

        def connect():
            with libvirt_connection.read_only(
                    'qemu+unix:///system?socket=/no/such/socket'):
                self.fail('connected to nothing')

        with contextlib.redirect_stderr(printed):
            e = self.assertRaises(libvirt.libvirtError, connect)
        self.assertIn('/no/such/socket', str(e))
        self.assertEqual('', printed.getvalue())
