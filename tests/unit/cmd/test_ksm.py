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

"""nova-flexmem host ksm, as it is run."""

import contextlib
import io
import json

import fixtures
import testtools

from nova_flexmem.cmd import ksm as ksm_command
from nova_flexmem.cmd import main
from nova_flexmem.cmd import signals
from nova_flexmem import exception
from nova_flexmem.host import ksm


class KsmTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.patch(signals, 'clean_up_on_signals', lambda: None)
        self.limits = []

    def _scan(self, *, limit_s):
        self.limits.append(limit_s)
        return ksm.Scan(2.04, 0.5, 3, 4096, 12288, True, 8192)

    def _run(self, *words, scan, status=0):
        self.useFixture(fixtures.FakeLogger())
        self.patch(ksm_command.ksm, 'scan_once', scan)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            returned = main.main(['host', 'ksm', *words])
        self.assertEqual(status, returned, err.getvalue())
        return out.getvalue() or err.getvalue()

    def test_figures(self):
        self.assertEqual(
            {'seconds': 2.0, 'cpu_s': 0.5, 'full_scans': 3, 'complete': True,
             'saved_before_bytes': 4096, 'saved_bytes': 12288,
             'profit_bytes': 8192},
            json.loads(self._run('-f', 'json', '--limit', '7',
                                 scan=self._scan)))
        self.assertEqual([7.0], self.limits)

    def test_refused(self):
        def refuse(**_kwargs):
            raise exception.KsmUnusable(reason='it is scanning already')

        self.assertIn('scanning already', self._run(scan=refuse, status=1))
        self.assertIn('seconds', self._run('--limit', '0', scan=self._scan,
                                           status=1))
        self.assertEqual([], self.limits)
