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

"""The helper that runs as root: how it is started, and how it answers."""

import atexit
import os
import subprocess
import sys

import fixtures
from oslo_rootwrap import wrapper
import testtools

from nova_flexmem import exception
from nova_flexmem.host import ksm_switch
from nova_flexmem.host import privileged
from tests.unit.host import ksm_files


_OFF = """
import sys
from oslo_config import cfg
from nova_flexmem.host import privileged
cfg.CONF([], default_config_files=[], default_config_dirs=[])
cfg.CONF.set_override('helper_command', sys.argv[1],
                      group=privileged.context.cfg_section)
privileged.Switch().off()
"""


class RootwrapTest(testtools.TestCase):

    def test_no_filter_is_needed(self):
        """nova-rootwrap lets privsep-helper through by itself."""
        command = privileged.context.helper_command('/tmp/any/privsep.sock')
        self.assertEqual(['sudo', 'privsep-helper'], command[:2])
        folder = self.useFixture(fixtures.TempDir()).path
        with open(os.path.join(folder, 'privsep-helper'), 'w') as f:
            os.fchmod(f.fileno(), 0o755)
        found = wrapper.match_filter(wrapper.load_filters([]), command[1:],
                                     [folder])
        self.assertEqual('root', found.run_as)


class AnswersTest(ksm_files.KsmFilesTestCase):
    """The functions as in the helper, on a folder that is not the kernel's."""

    files = {'run': '0', 'pages_to_scan': '100'}

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.MonkeyPatch(
            'nova_flexmem.host.ksm_switch.Switch', lambda: self.switch))
        self.useFixture(fixtures.MonkeyPatch(
            'nova_flexmem.host.privileged.context.client_mode', False))
        # it is this process that would end KSM's scan of the host otherwise
        self.addCleanup(atexit.unregister, privileged._end)

    def test_on_and_off(self):
        with privileged.switch() as switch:
            switch.scan()
            self.assertEqual(('1', str(ksm_switch.PAGES_TO_SCAN)),
                             (self.read('run'), self.read('pages_to_scan')))
            switch.off()
        self.assertEqual(('0', '100'),
                         (self.read('run'), self.read('pages_to_scan')))

    def test_off_leaves_others_alone(self):
        self.write('run', '1')
        with privileged.switch() as switch:
            switch.off()
        self.assertEqual('1', self.read('run'))

    def test_a_refusal_gets_through(self):
        self.write('run', '1')
        self.assertIn('scanning already', privileged.scan())
        with privileged.switch() as switch:
            e = self.assertRaises(exception.KsmUnusable, switch.scan)
        self.assertIn('scanning already', str(e))
        self.assertEqual('100', self.read('pages_to_scan'))


class NoHelperTest(testtools.TestCase):

    def test_helpers_that_do_not_start(self):
        # not in this process: other tests may have had eventlet patch it, and
        # the helper's log is read in a thread
        for command, why in (('/bin/false', 'non-zero'),
                             ('/no/such/helper', 'No such file')):
            done = subprocess.run([sys.executable, '-c', _OFF, command],
                                  capture_output=True, text=True, timeout=60)
            self.assertIn('KsmUnusable', done.stderr)
            self.assertIn(why, done.stderr)
            self.assertIn('helper_command', done.stderr)
