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


"""Commands whose Python packages are not installed are listed and refuse."""

import testtools

from tests.unit import without_packages

#: What the extras bring, as in setup.cfg, and no other requirement does.
_COMPUTE = ('debian', 'libvirt', 'lxml', 'psutil', 'rpm_vercmp', 'zstandard')
_DEMO = ('jinja2', 'matplotlib', 'numpy')

_COMPUTE_COMMANDS = ('image build A', 'image list', 'image show A',
                     'image verify --all', 'image remove A', 'image prune',
                     'image flatten A B C', 'host memory')
_DEMO_COMMANDS = ('demo --guests 1', 'bench density --counts 1', 'bench boot',
                  'bench io', 'bench compare A B')

_RUN = '''
from nova_flexmem.cmd import main
sys.exit(main.main(sys.argv[1:]))
'''


class CommandsTest(testtools.TestCase):

    def run_without(self, packages, command):
        return without_packages.run(packages, _RUN, *command.split())

    def test_all_are_listed(self):
        done = self.run_without(_COMPUTE + _DEMO, 'help')
        self.assertEqual(0, done.returncode, done.stderr)
        lines = [' '.join(line.split()) for line in done.stdout.splitlines()]
        for extra, commands in (('compute', _COMPUTE_COMMANDS),
                                ('demo', _DEMO_COMMANDS)):
            for command in commands:
                name = ' '.join(word for word in command.split()
                                if word.islower() and word[0] != '-')
                self.assertIn(f'{name} Not available: install'
                              f' nova-flexmem[{extra}]', lines)
        self.assertIn("host ksm Have KSM merge equal pages of this host's"
                      ' guests once, and stop', lines)

    def test_without_the_driver(self):
        for command in ('image list', 'host memory', 'image build A'):
            done = self.run_without(_COMPUTE, command)
            self.assertEqual((1, ''), (done.returncode, done.stdout))
            self.assertRegex(
                done.stderr, '^' + command.replace(' A', '') + ': the Python'
                r' package \w+ is not installed; install'
                r' nova-flexmem\[compute\]\n$')

    def test_without_numpy(self):
        done = self.run_without(['numpy'], 'bench density --counts 1')
        self.assertEqual(
            (1, 'bench density: the Python package numpy is not installed;'
             ' install nova-flexmem[demo]\n'), (done.returncode, done.stderr))

    def test_help_of_one(self):
        done = self.run_without(['numpy'], 'help bench compare')
        self.assertEqual(1, done.returncode, done.stdout)
        self.assertIn('install nova-flexmem[demo]', done.stderr)

    def test_without_the_metrics(self):
        done = self.run_without(['prometheus_client'],
                                'host memory --prometheus -')
        self.assertEqual(
            (1, 'host memory --prometheus: the Python package'
             ' prometheus_client is not installed; install'
             ' nova-flexmem[prometheus]\n'), (done.returncode, done.stderr))
