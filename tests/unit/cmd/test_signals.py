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

"""What commands leave behind that a signal ends in the middle."""

import os
import signal
import subprocess
import sys

import fixtures
import testtools

from nova_flexmem import process

MIB = 1 << 20

#: Runs a command up to where an appliance would start.
_RUN = '''
import sys, time
from nova_flexmem.cmd import main
from nova_flexmem.image import appliance

def start(_appliance):
    print('started', flush=True)
    time.sleep(60)

appliance.Appliance.__enter__ = start
appliance.Appliance.__exit__ = lambda *_args: None
sys.exit(main.main(sys.argv[1:]))
'''


class EndingTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        if not process.available('qemu-img'):
            self.skipTest('qemu-img is not installed')
        self.folder = self.useFixture(fixtures.TempDir()).path
        for name in ('image', 'delta'):
            with open(self.path(name), 'wb') as f:
                f.write(name.encode().ljust(MIB))

    def path(self, name):
        return os.path.join(self.folder, name)

    def end(self, number, *words):
        """Send a signal to a command when it is in the middle."""
        with subprocess.Popen(
                [sys.executable, '-c', _RUN, '--store', self.path('store'),
                 'image', *words], stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL) as command:
            self.assertEqual(b'started\n', command.stdout.readline())
            command.send_signal(number)
        self.assertEqual(128 + number, command.returncode)

    def test_build(self):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            self.end(number, 'build', self.path('image'))
            self.assertEqual([], os.listdir(self.path('store/builds')))

    def test_flatten(self):
        os.mkdir(self.path('out'))
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            self.end(number, 'flatten', self.path('image'),
                     self.path('delta'), self.path('out/disk'))
            self.assertEqual([], os.listdir(self.path('out')))
