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

"""When KSM scans after instances have started, and what ends it."""

import contextlib
import os
import threading
import time
import types

import fixtures
import libvirt
import testtools

import nova.conf

from nova_flexmem.virt import record
from nova_flexmem.virt import scans
from tests.unit.host import ksm_files

CONF = nova.conf.CONF

_SETTLE_S = 120


class StartsTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.starts = scans.Starts(_SETTLE_S)
        self.running = set()
        self.assertFalse(self.due(0))

    def due(self, now_s):
        return self.starts.due(set(self.running), now_s)

    def test_once_after_a_start(self):
        self.running.add('one')
        self.assertFalse(self.due(10))
        self.assertFalse(self.due(129))
        self.assertTrue(self.due(130))
        self.starts.scanned(130, 131)
        for now_s in range(140, 2000, 10):
            self.assertFalse(self.due(now_s))

    def test_what_ran_before(self):
        starts = scans.Starts(_SETTLE_S)
        for now_s in range(0, 2000, 10):
            self.assertFalse(starts.due({'old'}, now_s))
        # it calls for no scan, and is in the way of none
        self.assertFalse(starts.due({'old', 'new'}, 2000))
        self.assertTrue(starts.due({'old', 'new'}, 2120))

    def test_many_at_once_get_one(self):
        for number in range(10):
            self.running.add(number)
            self.assertFalse(self.due(10 * number))
        self.assertFalse(self.due(209))
        self.assertTrue(self.due(210))
        self.starts.scanned(210, 211)
        self.assertFalse(self.due(1000))

    def test_one_after_the_other_without_end(self):
        """It is put off, but not for ever; the youngest call for another."""
        for number in range(61):
            self.running.add(number)
            due = self.due(10 * number)
            self.assertEqual(number == 60, due, number)
        self.starts.scanned(600, 601)
        self.assertFalse(self.due(719))
        self.assertTrue(self.due(720))
        self.starts.scanned(720, 721)
        self.assertFalse(self.due(10000))

    def test_gone_before_its_time(self):
        self.running.add('one')
        self.assertFalse(self.due(10))
        self.running.clear()
        for now_s in range(20, 1000, 10):
            self.assertFalse(self.due(now_s))

    def test_rest_after_a_long_scan(self):
        self.running.add('one')
        self.due(0)
        self.assertTrue(self.due(120))
        self.starts.scanned(120, 220)
        self.running.add('two')
        self.assertFalse(self.due(220))
        self.assertFalse(self.due(1119))
        self.assertTrue(self.due(1120))


class ScansTest(ksm_files.KsmFilesTestCase):

    files = {'run': '0', 'full_scans': '7', 'pages_shared': '0',
             'pages_sharing': '256', 'pages_to_scan': '100',
             'sleep_millisecs': '20'}

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.helpers = 0
        self.instances = self.useFixture(fixtures.TempDir()).path
        CONF.set_override('instances_path', self.instances)
        self.addCleanup(CONF.clear_override, 'instances_path')
        self.guests = []
        self.now_s = 0.0
        self.scans = self.make()

    def make(self, ksm='after_boot', limit_s=600):
        group = types.SimpleNamespace(ksm=ksm, ksm_settle_s=_SETTLE_S,
                                      ksm_limit_s=limit_s)
        return scans.Scans(group, self, self.get_switch, lambda: self.now_s)

    @contextlib.contextmanager
    def get_switch(self):
        self.helpers += 1
        yield self.switch

    # as Nova's Host
    def list_guests(self):
        if isinstance(self.guests, Exception):
            raise self.guests
        return self.guests

    def boot(self, uuid, domain_id=1, flexmem=True):
        self.guests = [guest for guest in self.guests if guest.uuid != uuid]
        self.guests.append(types.SimpleNamespace(uuid=uuid, id=domain_id))
        folder = os.path.join(self.instances, uuid)
        os.makedirs(folder, exist_ok=True)
        if flexmem:
            open(os.path.join(folder, record.NAME), 'w').close()

    def poll(self, now_s, through=True):
        """Poll at a time; returns whether KSM was made to scan by that.

        :param through: whether the kernel gets through with a scan
        """
        self.now_s = now_s
        seen, ended = [], threading.Event()

        def kernel():
            while not ended.wait(0.005):
                if self.read('run') == '1':
                    seen.append(self.read('pages_to_scan'))
                    if through:
                        self.write('pages_sharing', '768')
                        self.write('full_scans',
                                   str(int(self.read('full_scans')) + 3))
                        return

        thread = threading.Thread(target=kernel)
        thread.start()
        self.scans.poll()
        ended.set()
        thread.join()
        self.assertEqual(('0', '100'),
                         (self.read('run'), self.read('pages_to_scan')))
        return bool(seen)

    def test_scan(self):
        self.assertFalse(self.poll(0))
        self.boot('one')
        self.assertFalse(self.poll(5))
        self.assertEqual(0, self.helpers)
        self.assertTrue(self.poll(125))
        self.assertRegex(self.log.output, r'KSM has scanned .* 3 MiB are saved'
                         r' now, 1 MiB were before')
        self.assertFalse(self.poll(1000))

    def test_hard_reboot(self):
        self.boot('one')
        self.poll(0)
        self.boot('one', domain_id=2)
        self.poll(5)
        self.assertTrue(self.poll(125))

    def test_stock_instances_and_other_domains(self):
        self.poll(0)
        self.boot('stock', flexmem=False)
        self.guests.append(types.SimpleNamespace(uuid='not-novas', id=3))
        self.poll(5)
        self.assertFalse(self.poll(1000))

    def test_limit(self):
        self.scans = self.make(limit_s=1)
        self.poll(0)
        self.boot('one')
        self.poll(5)
        self.assertTrue(self.poll(125, through=False))
        self.assertIn('was stopped', self.log.output)
        self.assertFalse(self.poll(1000))

    def test_ksm_of_somebody_else(self):
        self.poll(0)
        self.boot('one')
        self.poll(5)
        self.write('run', '1')
        self.now_s = 125
        self.scans.poll()
        self.boot('two')
        self.now_s = 130
        self.scans.poll()
        self.now_s = 250
        self.scans.poll()
        self.assertEqual(('1', '100'),
                         (self.read('run'), self.read('pages_to_scan')))
        self.assertEqual(2, self.helpers)
        self.assertEqual(1, self.log.output.count('ksmtuned'))

    def test_libvirt_is_away(self):
        self.guests = libvirt.libvirtError('no libvirt')
        self.poll(0)
        self.poll(5)
        # libvirt puts the last error of the process into it, if there is one
        self.assertEqual(
            1, self.log.output.count('Merging memory after boot'))
        self.guests = []
        self.poll(10)
        self.boot('one')
        self.poll(15)
        self.assertTrue(self.poll(135))

    # -- the thread

    def wait(self, condition):
        deadline_s = time.monotonic() + 10
        while not condition():
            self.assertLess(time.monotonic(), deadline_s)
            time.sleep(0.01)

    def test_nova_compute_ends_in_a_scan(self):
        self.useFixture(fixtures.MonkeyPatch(
            'nova_flexmem.virt.scans._POLL_S', 0.01))
        self.scans.start()
        self.boot('one')
        self.wait(lambda: self.scans._starts._pending)
        self.assertEqual('0', self.read('run'))
        self.now_s = 125
        self.wait(lambda: self.read('run') == '1')
        self.scans.stop()
        self.assertFalse(self.scans._thread.is_alive())
        self.assertEqual(('0', '100'),
                         (self.read('run'), self.read('pages_to_scan')))

    def test_it_may_not_switch_ksm(self):
        """That is said when nova-compute starts."""
        self.useFixture(fixtures.MonkeyPatch(
            'nova_flexmem.host.privileged.context.start',
            self._no_helper))
        self.scans = scans.Scans(self.scans._group, self)
        self.scans.start()
        self.addCleanup(self.scans.stop)
        self.wait(lambda: 'cannot be run as root' in self.log.output)

    def _no_helper(self):
        raise OSError('no sudo')

    def _killed(self):
        """Have another nova-compute scan, and be killed."""
        pid = os.fork()
        if not pid:
            self.switch.scan()
            os._exit(0)
        os.waitpid(pid, 0)
        self.assertEqual('1', self.read('run'))
        self.useFixture(fixtures.MonkeyPatch(
            'nova_flexmem.host.ksm_switch.Switch', lambda: self.switch))

    def test_left_on(self):
        for ksm in ('off', 'after_boot'):
            self._killed()
            self.scans = self.make(ksm=ksm)
            self.scans.start()
            self.addCleanup(self.scans.stop)
            self.wait(lambda: self.read('run') == '0')
            self.assertEqual('100', self.read('pages_to_scan'))

    def test_off(self):
        self.scans = self.make(ksm='off')
        self.scans.start()
        self.assertFalse(self.scans._thread.is_alive())
        self.assertEqual(0, self.helpers)
        self.scans.stop()
