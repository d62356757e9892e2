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

"""A guest's power and talk, with libvirt and the control shell played."""

import os
import tempfile
import time
from unittest import mock

import testtools

from nova_flexmem.demo import guest
from nova_flexmem.demo import stock
from nova_flexmem import exception


class GuestTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = stock.Folder(folder.name)
        self.connection = mock.Mock()
        self.domain = self.connection.createXML.return_value
        self.shell = mock.Mock()
        self.patch(guest.shell, 'Shell', lambda path: self.shell)
        self.guest = guest.Guest(self.connection, 'flexmem-1-stock-1',
                                 '<domain/>', self.folder)

    def answers(self, *outputs):
        self.shell.run.side_effect = [(0, output) for output in outputs]

    def test_processor_starts_last(self):
        """libvirt's own time is not the guest's."""
        self.connection.createXML.side_effect = lambda *_: (
            time.sleep(0.3), self.domain)[1]
        self.guest.start()
        self.domain.resume.assert_called_once_with()
        self.answers('1000\n0.001\n')
        self.assertLess(self.guest.wait_multi_user(), 0.3)

    def test_multi_user_counts_from_power_on(self):
        self.guest.start()
        time.sleep(0.5)
        # multi-user.target was there 0.2 s before the guest answered
        self.answers('15300000\n15.50\n')
        self.assertAlmostEqual(0.3, self.guest.wait_multi_user(), delta=0.15)

    def config_drive(self, *answers):
        """Have a guest with a config drive answer, and wait for its boot."""
        open(self.folder.config_drive, 'w').close()
        self.guest.start()
        self.shell.run.side_effect = [(0, '1000\n0.001\n'), *answers]
        return self.guest.wait_multi_user()

    def test_a_config_drive_that_cloud_init_used(self):
        self.assertGreater(5, self.config_drive(
            (0, '{"v1": {"datasource": "DataSourceConfigDrive",'
                ' "errors": []}}')))

    def test_a_config_drive_that_cloud_init_did_not_use(self):
        for answer, cause in (
                ((1, 'cat: no such file'), 'it left no result'),
                ((0, '{"v1": {"datasource": "DataSourceNone",'
                     ' "errors": []}}'), 'DataSourceNone')):
            e = self.assertRaises(exception.DemoFailed, self.config_drive,
                                  answer, (0, 'status: disabled\n'))
            for part in ('flexmem-1-stock-1', cause, 'status: disabled'):
                self.assertIn(part, str(e))

    def test_multi_user_that_was_never_reached(self):
        self.guest.start()
        self.answers('0\n15.50\n')
        error = self.assertRaises(exception.DemoFailed,
                                  self.guest.wait_multi_user)
        self.assertIn('multi-user.target', str(error))

    def test_silent_guest_shows_its_last_words(self):
        self.guest.start()
        with open(self.folder.console, 'w') as f:
            f.write('[    1.0] starting\n\nflexmem: FATAL: no pmem device\n')
        self.shell.wait_ready.side_effect = exception.DemoFailed(
            reason='control shell: no answer')
        error = self.assertRaises(exception.DemoFailed, self.guest.wait_shell)
        self.assertIn('flexmem-1-stock-1', str(error))
        self.assertIn('no answer', str(error))
        self.assertTrue(str(error).endswith('FATAL: no pmem device'))

    def test_guest_without_cloud_init(self):
        self.patch(guest.cloudinit, '_STARTED_BY_S', 0.2)
        waiting = guest.Guest(self.connection, 'flexmem-1-stock-1',
                              '<domain/>', self.folder, needs_cloud_init=True)
        waiting.start()
        with open(self.folder.console, 'w') as f:
            f.write('an earlier boot\nalpine login: ')

        def wait_ready(timeout_s, give_up):
            self.assertFalse(give_up())
            with open(self.folder.console, 'a') as f:
                f.write('\nalpine login: ')
            self.assertFalse(give_up())  # it may still come
            time.sleep(0.3)
            self.assertTrue(give_up())
            raise exception.DemoFailed(reason='control shell: no answer')
        self.shell.wait_ready.side_effect = wait_ready
        error = self.assertRaises(exception.DemoFailed, waiting.wait_shell)
        self.assertIn('no answer; cloud-init in the guest has not started it',
                      str(error))

    def test_script_that_fails(self):
        self.guest.start()
        self.shell.run.return_value = (2, 'sh: nonsense: not found\n')
        error = self.assertRaises(exception.DemoFailed, self.guest.output,
                                  'nonsense')
        self.assertIn('exit code 2', str(error))
        self.assertIn('nonsense: not found', str(error))

    def test_state_with_failed_units(self):
        self.guest.start()
        self.answers('degraded\n',
                     'a.service loaded failed failed Does a\n'
                     'b.service loaded failed failed Does b\n')
        self.assertEqual(
            guest.SystemState('degraded', ['a.service', 'b.service']),
            self.guest.system_state())

    def test_ends_with_its_context(self):
        with testtools.ExpectedException(KeyboardInterrupt):
            with self.guest:
                raise KeyboardInterrupt
        self.domain.destroy.assert_called_once_with()
        self.shell.close.assert_called_once_with()

    def test_console_before_the_first_boot(self):
        self.assertFalse(os.path.exists(self.folder.console))
        self.assertEqual('', self.guest.console)
