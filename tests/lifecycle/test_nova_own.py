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

"""Some of Nova's own tests of its libvirt driver, on the FlexMem driver.

They come with Nova, run on its fake libvirt, and ask for no FlexMem: what they
assert of servers must hold as it is.
"""

import os
import sys

import fixtures

from nova.tests.functional.libvirt import test_evacuate
from nova.tests.functional.libvirt import test_rescue_deleted_base
from nova.tests.functional.libvirt import test_uefi
from nova.tests.functional.libvirt import test_vpmem

from nova_flexmem.virt import driver
from nova_flexmem.virt import hook

_STOCK = 'libvirt.LibvirtDriver'


class WithFlexMemDriver:
    """Part of a test case: its hosts run the FlexMem driver."""

    def setUp(self):
        hook.extend_nova_virt()
        # which makes errors of what SQLAlchemy deprecates
        self.useFixture(fixtures.MonkeyPatch(
            'nova.tests.fixtures.WarningsFixture', fixtures.Fixture))
        self.flags(api_paste_config=os.path.join(
            sys.prefix, 'etc/nova/api-paste.ini'), group='wsgi')
        # which makes real tap devices, where it may
        for name in ('create_tap_dev', 'set_device_mtu', 'delete_net_dev'):
            self.useFixture(fixtures.MockPatch(
                f'nova.privsep.linux_net.{name}'))
        super().setUp()

    def flags(self, group=None, **options):
        if options.get('compute_driver') == _STOCK:
            options['compute_driver'] = 'flexmem.FlexMemDriver'
        super().flags(group=group, **options)

    def start_service(self, name, *args, **kwargs):
        service = super().start_service(name, *args, **kwargs)
        if name == 'compute':
            self.assertIsInstance(service.manager.driver,
                                  driver.FlexMemDriver)
        return service


class FirmwareTest(WithFlexMemDriver, test_uefi.UEFIServersFirmwareTest):
    pass


class PmemTest(WithFlexMemDriver, test_vpmem.VPMEMResizeTests):
    pass


class RescueTest(
        WithFlexMemDriver,
        test_rescue_deleted_base.RescueServerTestWithDeletedBaseImage):
    pass


class EvacuateTest(WithFlexMemDriver, test_evacuate.LibvirtQcowEvacuateTest):
    pass
