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

"""The control shell: both of its ends, talking over a socket."""

import base64
import json
import os
import socket
import subprocess
import tempfile
import threading
import time

import testtools

from nova_flexmem.demo import configdrive
from nova_flexmem.demo import shell
from nova_flexmem import exception


class ShellTestCase(testtools.TestCase):
    """Has a Shell, and the socket that is the guest's serial port."""

    def setUp(self):
        super().setUp()
        folder = self.useTemporaryFolder()
        self.listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.listener.close)
        path = os.path.join(folder, 'shell')
        self.listener.bind(path)
        self.listener.listen()
        self.shell = shell.Shell(path)
        self.addCleanup(self.shell.close)
        self.guest, _address = self.listener.accept()
        self.addCleanup(self.guest.close)

    def useTemporaryFolder(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return folder.name


class ShellTest(ShellTestCase):

    def say(self, *lines):
        self.guest.sendall(''.join(f'{line}\n' for line in lines).encode())

    def answer(self, *lines):
        """Have the guest answer when it has got a script."""
        def work():
            self.received = self.guest.recv(1 << 16)
            self.say(*lines)

        thread = threading.Thread(target=work)
        thread.start()
        self.addCleanup(thread.join)

    def test_waiting_that_has_become_useless(self):
        began = time.monotonic()
        error = self.assertRaises(exception.DemoFailed, self.shell.wait_ready,
                                  600, lambda: time.monotonic() > began + 0.1)
        self.assertIn('no answer', str(error))
        self.assertLess(time.monotonic() - began, 60)

    def test_noise_before_the_guest_is_ready(self):
        self.say('', 'garbage \x00', 'ready 8f14e45f')
        self.shell.wait_ready(timeout_s=5)

    def test_guest_that_never_gets_ready(self):
        began = time.monotonic()
        error = self.assertRaises(exception.DemoFailed,
                                  self.shell.wait_ready, timeout_s=0.2)
        self.assertIn('no answer', str(error))
        self.assertLess(time.monotonic() - began, 5)

    def test_answer(self):
        text = 'first line\nsecond line\n'
        self.answer('1 3 ' + base64.b64encode(text.encode()).decode())
        self.assertEqual((3, text), self.shell.run('a script\n', timeout_s=5))
        number, encoded = self.received.split()
        self.assertEqual(b'1', number)
        self.assertEqual(b'a script\n', base64.b64decode(encoded))

    def test_answer_without_output(self):
        self.answer('1 0 ')
        self.assertEqual((0, ''), self.shell.run('true', timeout_s=5))

    def test_late_answer_of_an_earlier_script(self):
        self.assertRaises(exception.DemoFailed, self.shell.run, 'sleep 9',
                          timeout_s=0.1)
        self.guest.recv(1 << 16)
        self.answer('1 0 b2xk', '2 0 bmV3')
        self.assertEqual((0, 'new'), self.shell.run('second', timeout_s=5))

    def test_reboot_in_place_of_an_answer(self):
        self.answer('ready 8f14e45f')
        error = self.assertRaises(exception.DemoFailed, self.shell.run,
                                  'reboot', timeout_s=5)
        self.assertIn('rebooted', str(error))

    def test_guest_that_ends(self):
        self.guest.close()
        error = self.assertRaises(exception.DemoFailed,
                                  self.shell.wait_ready, timeout_s=5)
        self.assertIn('ended', str(error))


class AgentTest(ShellTestCase):
    """The guest's end, run here on a terminal in place of a serial port."""

    def test_guest_end(self):
        folder = self.useTemporaryFolder()
        controller, terminal = os.openpty()
        script = shell.AGENT.replace('/dev/ttyS1', os.ttyname(terminal))
        popen = subprocess.Popen(['sh', '-c', script],
                                 env=os.environ | {'TMPDIR': folder})
        self.addCleanup(popen.wait)
        self.addCleanup(popen.terminate)
        self.addCleanup(os.close, controller)
        self.addCleanup(os.close, terminal)
        for source, target in ((controller, self.guest.fileno()),
                               (self.guest.fileno(), controller)):
            threading.Thread(target=_copy, args=(source, target),
                             daemon=True).start()
        self.shell.wait_ready(timeout_s=10)
        self.assertEqual((0, 'some text\nmore\n'), self.shell.run(
            'echo some text; echo more >&2', timeout_s=10))
        self.assertEqual((7, ''), self.shell.run('exit 7', timeout_s=10))
        big = 'x' * 20000
        self.assertEqual((0, big), self.shell.run(
            f'printf %s {big}', timeout_s=10))


class UserDataTest(testtools.TestCase):

    def test_starts_the_shell_at_every_boot(self):
        header, text = configdrive.control_shell().split('\n', 1)
        self.assertEqual('#cloud-config', header)
        [[program, option, script]] = json.loads(text)['bootcmd']
        self.assertEqual(['sh', '-c'], [program, option])
        subprocess.run(['sh', '-n', '-c', script], check=True)
        self.assertIn('--no-block', script)


def _copy(source, target):
    try:
        while data := os.read(source, 1 << 16):
            os.write(target, data)
    except OSError:
        pass
