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

import os
import subprocess
import sys
from unittest import mock

import fixtures
import testtools

from nova_flexmem import exception
from nova_flexmem.image import appliance
from nova_flexmem import process
from nova_flexmem import sandbox

#: Answers as guestfish does; each start takes a line of the file "orders".
_GUESTFISH = """\
#!/bin/sh
order=$(head -n 1 {folder}/orders)
sed -i 1d {folder}/orders
echo start >> {folder}/starts
while read -r word rest; do
    case $word in
    echo) echo "$rest" ;;
    debug) echo "/dev/sd${{order%% *}}" ;;
    esac
done
"""


class ApplianceTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.path = f'{self.folder}:{os.environ["PATH"]}'
        self.useFixture(fixtures.MockPatchObject(
            appliance.supermin, 'environment',
            return_value={'PATH': self.path}))
        self.useFixture(fixtures.MockPatchObject(
            appliance.supermin, 'make',
            side_effect=lambda *_args: ([], [self.folder])))
        # its programs; what may be changed may not be run
        self.below = (self.folder,)

    def program(self, name, script):
        """Have another program for one that is run."""
        path = os.path.join(self.folder, name)
        with open(path, 'w') as f:
            f.write(script)
        os.chmod(path, 0o755)

    def appliance(self):
        drives = [appliance.Drive(f'/{label}', 'raw', True, label)
                  for label in ('one', 'two')]
        return appliance.Appliance(self.folder, drives, timeout_s=60,
                                   file_size_bytes=1, below=self.below)


class SandboxTest(ApplianceTest):

    def test_a_base_of_others(self):
        if sandbox.problem():
            self.skipTest(sandbox.problem())
        other = os.path.join(self.useFixture(fixtures.TempDir()).path, 'base')
        with open(other, 'w') as f:
            f.write('theirs')
        self.program('guestfish', f"""\
#!/bin/sh
read -r line
echo ours >> {other}
echo "libguestfs: error: $(cat {other} 2>&1)" >&2
""")
        e = self.assertRaises(exception.ProgramFailed,
                              self.appliance().__enter__)
        self.assertIn(f'{other}: Permission denied', str(e))
        with open(other) as f:
            self.assertEqual('theirs', f.read())


#: Asks for an answer that never comes; prints the memory that this took.
_ASK = """
import resource
from unittest import mock
from nova_flexmem import exception
from nova_flexmem.image import appliance
folder = '{folder}'
with mock.patch.multiple(
        appliance.supermin, make=lambda *_args: ([], [folder]),
        environment=lambda *_args: {{'PATH': '{path}'}}):
    a = appliance.Appliance(folder, [appliance.Drive(
        folder + '/disk', 'raw', True, 'one')], timeout_s=200,
        file_size_bytes=1, below=(folder,))
    try:
        with a:
            a.command('ls', '/lib/modules')
    except exception.ProgramFailed as e:
        print(e)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


class LongAnswersTest(ApplianceTest):

    NAMES = 10_000_000

    def setUp(self):
        super().setUp()
        with open(os.path.join(self.folder, 'disk'), 'w'):
            pass

    def ask(self, answer):
        self.program('guestfish', f"""\
#!/bin/sh
while read -r word rest; do
    case $word in
    echo) echo "$rest" ;;
    debug) echo /dev/sda ;;
    ls) {answer} ;;
    esac
done
""")
        program = _ASK.format(folder=self.folder, path=self.path)
        said, memory_mib = process.run(
            sys.executable, '-c', program, timeout_s=200,
            limits=process.Limits(None, None, None),
            env={'PYTHONPATH': os.pathsep.join(sys.path)}).splitlines()
        self.assertIn('the answer to ls is over 64 MiB', said)
        self.assertLess(int(memory_mib), 512)

    def test_names(self):
        self.ask(f'yes 6.1.0-50-cloud-amd64 | head -n {self.NAMES}')

    def test_one_line(self):
        self.ask(f'head -c {self.NAMES}00 /dev/zero')


class ErrorsTest(ApplianceTest):

    def test_the_first_is_the_cause(self):
        # eventlet, where Nova has it patch the tests' process, would write
        # for ever to one that has ended
        self.program('guestfish', """\
#!/bin/sh
read -r line
for text in 'a warning' 'libguestfs: error: No space left on device' \
        'libguestfs: error: qemu-img exited with error status 1'; do
    echo $text >&2
done
""")
        e = self.assertRaises(exception.ProgramFailed,
                              self.appliance().__enter__)
        self.assertIn('No space left on device', str(e))

    def test_writes_that_failed(self):
        """As Linux 6.1 says it; what is discarded need not be."""
        self.program('sync', '#!/bin/sh\n')
        for line, expected in (
                ('[ 5.1] EXT4-fs (sda): mounted filesystem', 0),
                ('[ 5.1] I/O error, dev sdb, sector 8 op 0x1:(WRITE) flags'
                 ' 0x800 phys_seg 1 prio class 2', 1),
                ('[ 5.1] critical space allocation error, dev sdc, sector 8'
                 ' op 0x1:(WRITE) flags 0x0 phys_seg 1 prio class 2', 1),
                ('[ 5.1] critical target error, dev sdb, sector 8 op 0x3:'
                 '(DISCARD) flags 0x800 phys_seg 1 prio class 2', 0)):
            self.program('dmesg', f"#!/bin/sh\necho '{line}'\n")
            done = subprocess.run(
                ['bash', '-eu', '-o', 'pipefail', '-c',
                 appliance._CHECK_WRITES], env={'PATH': self.path},
                capture_output=True, text=True)
            self.assertEqual(expected, done.returncode, line)
            self.assertIn(line if expected else '', done.stderr)


class OrderTest(ApplianceTest):
    """The kernel's name for the first disk must be that of libguestfs."""

    def setUp(self):
        super().setUp()
        self.program('guestfish', _GUESTFISH.format(folder=self.folder))

    def start(self, *orders):
        """Start an appliance; returns how many starts that took."""
        with open(os.path.join(self.folder, 'orders'), 'w') as f:
            f.writelines(f'{order}\n' for order in orders)
        with self.appliance() as started:
            self.assertEqual('/dev/sda', started.shell('true')[0])
        with open(os.path.join(self.folder, 'starts')) as f:
            return len(f.readlines())

    def test_in_order(self):
        for order in ('a b', 'a c'):
            self.assertEqual(1, self.start(order))
            os.remove(os.path.join(self.folder, 'starts'))

    def test_out_of_order(self):
        self.assertEqual(3, self.start('b a', 'c b', 'a b'))

    def test_never_in_order(self):
        e = self.assertRaises(exception.ProgramFailed, self.start,
                              *['b a'] * 9)
        self.assertIn('/dev/sda, 10 times', str(e))

    def test_an_error_ends_it(self):
        with mock.patch.object(appliance.Appliance, 'shell', autospec=True,
                               side_effect=exception.ProgramFailed(
                                   program='guestfish', reason='broken')):
            e = self.assertRaises(exception.ProgramFailed, self.start, 'a b')
        self.assertIn('broken', str(e))
