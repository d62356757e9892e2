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

"""A bounded scan by the kernel that is here."""

import mmap
import os
import signal

import testtools

from nova_flexmem.host import ksm
from nova_flexmem.host import ksm_switch

_MADV_MERGEABLE = 12
_BYTES = 8 << 20


class KsmTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        if not os.access(os.path.join(ksm_switch.FOLDER, 'run'), os.W_OK):
            self.skipTest('needs root, and a kernel with KSM')
        if ksm.counters().run == 1:
            self.skipTest('KSM is on already, for somebody else')

    def _process(self, content):
        """Have a process with memory that can be merged."""
        ready, done = os.pipe()
        pid = os.fork()
        if not pid:
            memory = mmap.mmap(-1, _BYTES, flags=mmap.MAP_PRIVATE
                               | mmap.MAP_ANONYMOUS)
            memory.madvise(_MADV_MERGEABLE)
            memory[:] = content
            os.write(done, b'.')
            while True:
                signal.pause()
        os.read(ready, 1)
        os.close(ready)
        os.close(done)
        self.addCleanup(os.waitpid, pid, 0)
        self.addCleanup(os.kill, pid, 9)

    def test_merged_and_stays_so(self):
        settings = self._settings()
        content = os.urandom(_BYTES)
        self._process(content)
        self._process(content)
        done = ksm.scan_once(limit_s=60)
        self.assertTrue(done.complete)
        gain = done.saved_bytes - done.saved_before_bytes
        self.assertGreater(gain, 0.95 * _BYTES)
        now = ksm.counters()
        self.assertEqual(0, now.run)
        self.assertGreater(now.saved_bytes, done.saved_bytes - _BYTES / 20)
        self.assertEqual(settings, self._settings())

    def _settings(self):
        return {name: ksm_switch.text(ksm_switch.FOLDER, name)
                for name in ('pages_to_scan', 'sleep_millisecs')}
