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

import json
import os
import signal
import threading
import time

import fixtures
import testtools

from nova_flexmem import exception
from nova_flexmem.host import ksm
from nova_flexmem.host import ksm_switch
from tests.unit.host import ksm_files

_FILES = {'run': '0', 'full_scans': '7', 'pages_shared': '10',
          'pages_sharing': '40', 'pages_to_scan': '100',
          'sleep_millisecs': '20', 'smart_scan': '1',
          'advisor_mode': 'none [scan-time]'}


class KsmTest(ksm_files.KsmFilesTestCase):

    files = _FILES

    def _settings(self):
        return {name: self.read(name) for name in (
            'pages_to_scan', 'sleep_millisecs', 'smart_scan', 'advisor_mode')}

    def _scan(self, limit_s=10.0):
        return ksm.scan_once(limit_s=limit_s, switch=self.switch)

    def test_counters(self):
        found = ksm.counters(self.folder)
        self.assertEqual((0, 7), (found.run, found.full_scans))
        self.assertEqual(4 * found.shared_bytes, found.saved_bytes)

    def test_no_ksm(self):
        e = self.assertRaises(exception.KsmUnusable, ksm.counters,
                              os.path.join(self.folder, 'none'))
        self.assertIn('has no KSM', str(e))

    def test_scan_once(self):
        seen = []

        def scan():
            while self.read('run') != '1':
                time.sleep(0.01)
            seen.append(self._settings())
            self.write('pages_sharing', '90')
            self.write('full_scans', '10')

        kernel = threading.Thread(target=scan)
        kernel.start()
        done = self._scan()
        kernel.join()
        self.assertEqual([{'pages_to_scan': '1250', 'sleep_millisecs': '10',
                           'smart_scan': '0', 'advisor_mode': 'none'}], seen)
        self.assertTrue(done.complete)
        self.assertEqual(3, done.full_scans)
        self.assertLess(done.saved_before_bytes, done.saved_bytes)
        self._assert_as_before()

    def _assert_as_before(self):
        self.assertEqual('0', self.read('run'))
        self.assertFalse(os.path.exists(self.state))
        self.assertEqual({'pages_to_scan': '100', 'sleep_millisecs': '20',
                          'smart_scan': '1', 'advisor_mode': 'scan-time'},
                         self._settings())

    def test_limit(self):
        self.assertFalse(self._scan(limit_s=0.05).complete)
        self._assert_as_before()

    def test_nothing_to_merge(self):
        self.useFixture(fixtures.MonkeyPatch(
            'nova_flexmem.host.ksm._IDLE_S', 0.05))
        done = self._scan()
        self.assertTrue(done.complete)
        self.assertEqual(0, done.full_scans)
        self._assert_as_before()

    def test_slow_but_not_idle(self):
        self.useFixture(fixtures.MonkeyPatch(
            'nova_flexmem.host.ksm._IDLE_S', 0.05))
        self.useFixture(fixtures.MonkeyPatch(
            'nova_flexmem.host.ksm.cpu_s', time.monotonic))
        self.assertFalse(self._scan(limit_s=0.3).complete)

    def test_somebody_elses(self):
        self.write('run', '1')
        e = self.assertRaises(exception.KsmUnusable, self._scan)
        self.assertIn('ksmtuned', str(e))
        self.assertEqual('1', self.read('run'))
        self.assertEqual('100', self.read('pages_to_scan'))

    def test_not_wanted_any_more(self):
        done = ksm.scan_once(limit_s=60, switch=self.switch,
                             unwanted=lambda: True)
        self.assertFalse(done.complete)
        self._assert_as_before()

    def test_one_at_a_time(self):
        self.switch.on(pages_to_scan=5)
        e = self.assertRaises(exception.KsmUnusable, self._scan)
        self.assertIn(f'process {os.getpid()}', str(e))
        self.assertEqual('5', self.read('pages_to_scan'))
        self.switch.off()
        self._assert_as_before()

    def test_killed(self):
        pid = os.fork()
        if not pid:
            self.switch.on(pages_to_scan=5)
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
        self.assertEqual('1', self.read('run'))
        self.switch.put_back()
        self._assert_as_before()

    def test_release(self):
        """It stops what this process began, and what is nobody's."""
        self.write('run', '1')
        self.switch.release()
        self.assertEqual('1', self.read('run'))  # ksmtuned's, for example
        self.write('run', '0')

        self.switch.on(pages_to_scan=5)
        self.assertFalse(self.switch.abandoned())
        pid = os.fork()
        if not pid:
            self.switch.release()  # of a process that lives
            os._exit(self.read('run') != '1')
        self.assertEqual(0, os.waitpid(pid, 0)[1])
        self.switch.release()
        self._assert_as_before()

        pid = os.fork()
        if not pid:
            self.switch.on(pages_to_scan=5)
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
        self.assertTrue(self.switch.abandoned())
        self.switch.release()
        self._assert_as_before()

    def test_the_folder_of_somebody_else(self):
        """Who may write there could have root write anything."""
        if os.geteuid() != 0:
            self.skipTest('not root')
        folder = os.path.dirname(self.state)
        os.mkdir(folder)
        os.chown(folder, 65534, 65534)
        with open(self.state, 'w') as f:
            json.dump({'pid': 0, 'started': None,
                       'former': {'../evil': '1'}}, f)
        for act in (self.switch.put_back, self.switch.off, self.switch.scan,
                    self.switch.release):
            e = self.assertRaises(exception.KsmUnusable, act)
            self.assertIn(f'{folder} is owned by user 65534', str(e))
        self.assertFalse(os.path.exists(os.path.join(self.folder, '../evil')))
        self.assertEqual('0', self.read('run'))

    def test_older_kernel(self):
        for name in ('smart_scan', 'advisor_mode'):
            os.unlink(os.path.join(self.folder, name))
        self._scan(limit_s=0.05)
        self.assertEqual(sorted(set(_FILES) - {'smart_scan', 'advisor_mode'}),
                         sorted(os.listdir(self.folder)))

    def test_always_on(self):
        try:
            with ksm.always_on(500, 5, self.switch):
                self.assertEqual('1', self.read('run'))
                self.assertEqual('500', self.read('pages_to_scan'))
                self.assertEqual('1', self.read('smart_scan'))
                raise KeyError
        except KeyError:
            pass
        self._assert_as_before()


class ProcessorTimeTest(testtools.TestCase):

    def test_of_this_kernel(self):
        if not os.path.exists(ksm_switch.FOLDER):
            self.skipTest('this kernel has no KSM')
        self.assertGreaterEqual(ksm.cpu_s(), 0)
