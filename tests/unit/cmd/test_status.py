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
import json
import os
import subprocess
import sys

from nova_flexmem.cmd import signals
from nova_flexmem.cmd import status
from nova_flexmem.host import hugepages
from nova_flexmem.host import preflight
from tests.unit.cmd import test_checks


class CommandTest(test_checks.ChecksTest):

    def run_main(self, *argv):
        self.patch(signals, 'clean_up_on_signals', lambda: None)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = status.main(argv)
        return code, out.getvalue(), err.getvalue()

    def test_json_and_exit_codes(self):
        self.patch(preflight, 'check', lambda *_args: [
            preflight.Finding('one', True, 'seen')])
        self.patch(hugepages, 'max_filled_pages', lambda: 0)
        for text, code in ((test_checks.LINES, 0), ('', 1),
                           (f'{test_checks.LINES}[libvirt]\nimages_type = lvm',
                            2)):
            found, out, _err = self.run_main(
                '--config-file', self.config_file(text), 'upgrade', 'check',
                '--json')
            self.assertEqual(code, found, out)
            checks = json.loads(out)['checks']
            self.assertEqual(
                ['Nova', 'Configuration', 'Host', 'Huge pages', 'AppArmor',
                 'Sandbox', 'KSM', 'Base store'],
                [check['check'] for check in checks])
            self.assertEqual(code, max(check['result'] for check in checks))

    def test_configuration_that_cannot_be_read(self):
        code, out, err = self.run_main('--config-file', '/no/such/file',
                                       'upgrade', 'check')
        self.assertEqual((255, ''), (code, out))
        self.assertIn('/no/such/file', err)
        self.assertEqual(1, len(err.splitlines()))

    def test_installed_command(self):
        found = subprocess.run(
            [os.path.join(os.path.dirname(sys.executable),
                          'nova-flexmem-status'), '--help'],
            capture_output=True, text=True, timeout=120)
        self.assertEqual(0, found.returncode, found.stderr)
        self.assertIn('upgrade', found.stdout)
