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

import threading
import types

import fixtures
import testtools

from nova_flexmem import exception
from nova_flexmem.host import ceph
from nova_flexmem.host import preflight
from nova_flexmem.virt import readiness
from nova_flexmem.virt import worker

_GROUP = types.SimpleNamespace(build_wait_s=900)
_FIT = {'name': 'host', 'ok': True, 'message': 'x86_64'}
_UNFIT = {'name': 'device', 'ok': False, 'message': 'QEMU has no nvdimm'}

#: Seconds in which a check that a worker answers at once has to be known.
_SOON_S = 20


class ReadinessTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.answers = []
        self.asked = []
        self.patch(worker, 'call', self.call)
        self.readiness = readiness.Readiness(_GROUP, 'qemu')
        self.addCleanup(self.readiness.stop)

    def call(self, task, group, **arguments):
        self.asked.append((task, arguments))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def test_a_ceph_is_checked_too(self):
        storage = ceph.Ceph(pool='vms', conf='', user='nova', secret=None,
                            timeout_s=5, uri='')
        self.answers = [[_FIT]]
        readiness.Readiness(_GROUP, 'qemu', storage)._check()
        [(_task, arguments)] = self.asked
        self.assertEqual(storage, ceph.Ceph(**arguments['storage']))

    def pauses(self, *answers):
        """Return how long the pauses after answers of the worker are."""
        self.answers = list(answers)
        pauses = []

        def wait(pause_s):
            pauses.append(pause_s)
            return not self.answers

        self.readiness._run(types.SimpleNamespace(wait=wait))
        return pauses

    def assert_unfit(self, words):
        self.assertIs(False, self.readiness.fit)
        e = self.assertRaises(exception.HostUnfit, self.readiness.wait)
        self.assertIn(words, str(e))

    def started(self, answer):
        """Start the checks; fails if their result is not known soon."""
        self.answers = [answer]
        self.patch(readiness, '_FIT_PAUSE_S', 3600)
        self.readiness.start()
        known = self.readiness._known.wait(_SOON_S)
        self.assertTrue(known, 'instances would wait for a result')

    def test_fit(self):
        self.assertIsNone(self.readiness.fit)
        self.started([_FIT])
        self.assertTrue(self.readiness.fit)
        self.readiness.wait()
        self.assertEqual([('preflight', {'virt_type': 'qemu'})], self.asked)

    def test_unfit(self):
        self.started([_FIT, _UNFIT])
        self.assert_unfit('QEMU has no nvdimm')

    def test_a_worker_that_fails(self):
        self.started(exception.ProgramFailed(program='python', reason='gone'))
        self.assert_unfit('python failed: gone')

    def test_a_worker_that_answers_nonsense(self):
        for answer in (None, 5, [5], [{'name': 'host'}],
                       [_FIT | {'since': 'a later version'}]):
            self.readiness = readiness.Readiness(_GROUP, 'qemu')
            self.addCleanup(self.readiness.stop)
            self.started(answer)
            self.assert_unfit('its checks failed')
            self.assertIn('Traceback', self.log.output)

    def test_whatever_goes_wrong(self):
        self.started(RuntimeError('unheard of'))
        self.assert_unfit('unheard of')

    def test_checked_again_and_again(self):
        self.assertEqual([600, 600, 600], self.pauses([_FIT], [_FIT], [_FIT]))
        self.assertTrue(self.readiness.fit)

    def test_an_unfit_host_is_checked_again_soon_then_less_often(self):
        self.assertEqual([30, 60, 120, 240, 480, 960, 1800, 1800],
                         self.pauses(*[[_UNFIT]] * 8))

    def test_what_was_mended_is_seen(self):
        self.assertEqual([30, 600, 30, 60], self.pauses(
            [_UNFIT], [_FIT], [_UNFIT], [_UNFIT]))
        self.assertEqual(2, self.log.output.count('QEMU has no nvdimm'))
        self.assertEqual(1, self.log.output.count('again'))
        self.assert_unfit('no nvdimm')

    def test_the_last_result_holds_during_a_check(self):
        self.pauses([_FIT])
        begun, end = threading.Event(), threading.Event()
        self.addCleanup(end.set)

        def call(*_args, **_kwargs):
            begun.set()
            end.wait(_SOON_S)
            return [_UNFIT]

        self.patch(worker, 'call', call)
        self.readiness.start()
        self.assertTrue(begun.wait(_SOON_S))
        self.assertTrue(self.readiness.fit)
        self.readiness.wait()

    def test_stopped(self):
        before = threading.enumerate()
        self.started([_FIT])
        thread, = set(threading.enumerate()) - set(before)
        self.readiness.stop()
        thread.join(_SOON_S)
        self.assertFalse(thread.is_alive())

    def test_findings(self):
        self.pauses([_FIT, _UNFIT])
        self.assertEqual([preflight.Finding(**_FIT),
                          preflight.Finding(**_UNFIT)],
                         self.readiness.findings)
