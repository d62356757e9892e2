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

"""A bounded scan by the kernel that is here, by root and by root's helper."""

import json
import mmap
import os
import signal
import subprocess
import sys
import time

import fixtures
from oslo_config import cfg
import testtools

from nova_flexmem import exception
from nova_flexmem.host import ksm
from nova_flexmem.host import ksm_switch
from nova_flexmem.host import pages
from nova_flexmem.host import privileged
from tests.functional import harness

_MADV_MERGEABLE = 12
_BYTES = 8 << 20

#: Of a scan, which looks at the guests of other tests as well.
_LIMIT_S = 300

#: A nova-compute that has KSM scan, and gets a signal then.
_COMPUTE = """
import os
import sys
from oslo_config import cfg
from nova_flexmem.host import privileged
from tests.functional import harness
cfg.CONF([], default_config_files=[], default_config_dirs=[])
cfg.CONF.set_override('helper_command', sys.argv[1],
                      group=privileged.context.cfg_section)
privileged.Switch().scan()
os.kill(os.getpid(), int(sys.argv[2]))
"""


class KsmTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        harness.take_ksm(self)
        self.settings = self.read_settings()

    def read_settings(self):
        return {name: ksm_switch.text(ksm_switch.FOLDER, name)
                for name in ('run', 'pages_to_scan', 'sleep_millisecs')}

    def have_process(self, content):
        """Have a process with memory that can be merged; return its id."""
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
        return pid


def _merged_bytes(pid):
    """Return how much of a process's memory KSM has merged."""
    with open(f'/proc/{pid}/ksm_merging_pages') as f:
        return int(f.read()) * pages.PAGE_BYTES


class KsmTest(KsmTestCase):

    def test_merged_and_stays_so(self):
        content = os.urandom(_BYTES)
        processes = [self.have_process(content) for _ in range(2)]
        done = ksm.scan_once(limit_s=_LIMIT_S)
        self.assertTrue(done.complete)
        # not what came to it: guests of other tests come and go
        self.assertGreater(done.saved_bytes, 0.95 * _BYTES)
        self.assertEqual(0, ksm.counters().run)
        for pid in processes:
            self.assertGreater(_merged_bytes(pid), 0.95 * _BYTES)
        self.assertEqual(self.settings, self.read_settings())


class HelperTest(KsmTestCase):
    """What nova-compute has root do, by nova-rootwrap and oslo.privsep."""

    def setUp(self):
        super().setUp()
        programs = os.path.dirname(sys.executable)
        rootwrap = os.path.join(self.useFixture(fixtures.TempDir()).path,
                                'rootwrap.conf')
        with open(rootwrap, 'w') as f:
            f.write(f'[DEFAULT]\nexec_dirs = {programs}\nfilters_path =\n')
        self.helper = f'{programs}/nova-rootwrap {rootwrap} privsep-helper'
        self.addCleanup(cfg.CONF.clear_override, 'helper_command',
                        group=privileged.context.cfg_section)
        self._set_helper(self.helper)

    def _set_helper(self, command):
        cfg.CONF.set_override('helper_command', command,
                              group=privileged.context.cfg_section)

    def _holder(self):
        """Return the process that has KSM scan."""
        with open(ksm_switch.STATE) as f:
            return json.load(f)['pid']

    def _wait(self, condition):
        deadline_s = time.monotonic() + 120
        while not condition():
            self.assertLess(time.monotonic(), deadline_s)
            time.sleep(0.05)

    def _assert_off(self):
        self.assertEqual(self.settings, self.read_settings())
        self.assertFalse(os.path.exists(ksm_switch.STATE))

    def test_on_and_off(self):
        with privileged.switch() as switch:
            switch.scan()
            self.assertEqual(
                {'run': '1', 'sleep_millisecs': str(ksm_switch.SLEEP_MS),
                 'pages_to_scan': str(ksm_switch.PAGES_TO_SCAN)},
                self.read_settings())
            pid = self._holder()
            with open(f'/proc/{pid}/status') as f:
                status = f.read()
            for powers in ('CapEff', 'CapPrm', 'CapInh'):
                self.assertIn(f'{powers}:\t{0:016x}\n', status)
            switch.off()
            self._assert_off()
            self.assertTrue(os.path.exists(f'/proc/{pid}'))
        self._wait(lambda: not os.path.exists(f'/proc/{pid}'))

    def test_scan_once(self):
        self.have_process(os.urandom(_BYTES))
        self._scan_once()

    def test_scan_once_where_nothing_may_be_merged(self):
        self._scan_once()

    def _scan_once(self):
        with privileged.switch() as switch:
            done = ksm.scan_once(limit_s=_LIMIT_S, switch=switch)
        self.assertTrue(done.complete)
        self._assert_off()

    def test_nova_compute_is_killed(self):
        for number in (signal.SIGKILL, signal.SIGTERM):
            done = subprocess.run([sys.executable, '-W', 'ignore', '-c',
                                   _COMPUTE, self.helper, str(int(number))],
                                  timeout=300)
            self.assertEqual(-number, done.returncode)
            self._wait(lambda: not os.path.exists(ksm_switch.STATE))
            self._assert_off()

    def test_the_helper_is_killed(self):
        """As by systemd, which stops all processes of a service at once."""
        with privileged.switch() as switch:
            switch.scan()
            os.kill(self._holder(), signal.SIGTERM)
            self._wait(ksm_switch.Switch().abandoned)
            self._wait(lambda: not privileged.context.channel.running)
            self.assertEqual('1', self.read_settings()['run'])
            switch.off()
            self._assert_off()

    def test_a_folder_of_somebody_else(self):
        folder = os.path.dirname(ksm_switch.STATE)
        os.makedirs(folder, exist_ok=True)
        # theirs for the helper alone, so that nothing is left by a test that
        # is killed
        self._set_helper(
            "unshare --mount sh -ec 'mount -t tmpfs -o uid=65534 tmpfs"
            f' {folder}; exec "$0" "$@"\' {self.helper}')
        with privileged.switch() as switch:
            e = self.assertRaises(exception.KsmUnusable, switch.scan)
        self.assertIn(f'{folder} is owned by user 65534', str(e))
        self.assertEqual(self.settings, self.read_settings())
