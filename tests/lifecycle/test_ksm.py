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

"""KSM after servers have booted ([flexmem] ksm = after_boot)."""

import os
import sys
import threading
import time

import fixtures

from nova_flexmem.host import ksm
from nova_flexmem.host import ksm_switch
from nova_flexmem.host import privileged
from nova_flexmem.virt import scans
from tests.functional import harness as functional
from tests.lifecycle import harness
from tests.lifecycle import servers

MIB = 1 << 20


class KsmTest(harness.NovaTestCase):
    """With the real helper of oslo.privsep, which switches the real KSM."""

    flexmem = {'ksm': 'after_boot', 'ksm_settle_s': 10}

    def setUp(self):
        functional.take_ksm(self)
        super().setUp()

    def _patch_nova(self):
        super()._patch_nova()
        # Nova's tests let no helper start
        self.useFixture(fixtures.MonkeyPatch(
            'nova.tests.fixtures.PrivsepNoHelperFixture', harness.Nothing))
        # on a busy host the rest is longer than the test waits
        self.useFixture(fixtures.MonkeyPatch(
            'nova_flexmem.virt.scans._REST', 0))
        # nor has a guest booted there by any time that can be told beforehand
        self.booted = threading.Event()
        due = scans.Starts.due
        self.useFixture(fixtures.MonkeyPatch(
            'nova_flexmem.virt.scans.Starts.due', lambda *args: (
                due(*args) and self.booted.is_set())))

    def _set_options(self):
        super()._set_options()
        self.flags(helper_command=os.path.join(
            os.path.dirname(sys.executable), 'privsep-helper'),
            group=privileged.context.cfg_section)

    def _scans(self):
        return self.stdlog.logger.output.count('KSM has scanned for')

    def _await_scan(self, before, gain_bytes=0):
        """Wait until KSM has scanned once more, and is off again.

        :param before: how often it had
        :param gain_bytes: what must be merged then, beside what was before
        """
        def done():
            return (self._scans() > before and ksm.counters().saved_bytes
                    >= self.before.saved_bytes + gain_bytes)
        self.wait(done, servers.ACTION_TIMEOUT_S, lambda: (
            f'{self._scans()} scans, {ksm.counters()}'))
        self.assertEqual(0, ksm.counters().run)
        self.assertFalse(os.path.exists(ksm_switch.STATE))

    def test_after_boot(self):
        self.before = ksm.counters()
        asked = [self.create() for _ in range(2)]
        booted = [self.wait_status(server, 'ACTIVE', servers.BUILD_TIMEOUT_S)
                  for server in asked]
        for server in booted:
            self.hear(server, 1, **harness.FLEXMEM)
        self.booted.set()
        # their kernels, to begin with
        self._await_scan(0, gain_bytes=10 * MIB)
        for server in booted:
            self.hear(server, 1, **harness.FLEXMEM)

        count = self._scans()
        self.act(booted[0], 'reboot', {'type': 'HARD'})
        self.hear(booted[0], 2, **harness.FLEXMEM)
        self._await_scan(count)

        # what runs already calls for no other
        self.restart_compute()
        count = self._scans()
        time.sleep(self.flexmem['ksm_settle_s'] + 10)
        self.assertEqual(count, self._scans())
        self.delete(*booted)
