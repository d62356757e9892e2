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

"""KSM after servers have booted, by a nova-compute that is no root."""

import os

from nova_flexmem.host import ksm
from nova_flexmem.host import ksm_switch
from nova_flexmem.host import privileged
from tests.cloud import harness
from tests.cloud import processes
from tests.functional import harness as functional
from tools.cloud import account

MIB = 1 << 20

_NODE = 'node1'

_OPTIONS = """
[flexmem]
ksm = after_boot
ksm_settle_s = 30
"""


class KsmTest(harness.CloudTestCase):

    def setUp(self):
        super().setUp()
        functional.take_ksm(self)
        self.compute = self.cloud.services[f'nova-compute-{_NODE}']
        path = self.hosts.path(_NODE, 'etc', 'nova.conf')
        with open(path, encoding='utf-8') as f:
            text = f.read()
        self.addCleanup(self._restart_with, path, text)
        self._restart_with(path, text + _OPTIONS)

    def _restart_with(self, path, text):
        self.compute.stop()
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text)
        self.compute.start()
        self.cloud.wait_ready()

    def test_one_scan_after_boot(self):
        before = ksm.counters()
        scans = self.hosts.scans(_NODE)
        image_id = self.image()
        with processes.Watch([self.compute.pid]) as watch:
            for _ in range(2):
                self.start_flexmem(image_id, host=_NODE)
            self.wait_for(lambda: self.hosts.scans(_NODE) > scans,
                          harness.READY_TIMEOUT_S,
                          lambda: f'no scan: {ksm.counters()}')
        after = ksm.counters()
        # their kernels, to begin with
        self.assertGreaterEqual(after.saved_bytes - before.saved_bytes,
                                10 * MIB)
        self.assertEqual(0, after.run)
        self.assertFalse(os.path.exists(ksm_switch.STATE))
        helpers = watch.running(privileged.__name__)
        self.assertTrue([each for each in helpers if each.is_sudo], helpers)
        self.assertEqual({account.ID}, {
            user_id for each in watch.seen if not each.is_sudo
            for user_id in each.user_ids})
