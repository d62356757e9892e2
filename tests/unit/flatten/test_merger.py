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

import json

import fixtures
import testtools

from nova_flexmem import exception
from nova_flexmem.flatten import merger
from nova_flexmem.image import appliance


class Appliance:
    """An appliance with a delta, in which each script says the same."""

    def __init__(self, said='', kind='ext4', uuid='1-2'):
        self._said = said
        self._facts = {'vfs-type': [kind], 'vfs-uuid': [uuid]}

    def command(self, what, _device):
        return self._facts[what]

    def shell(self, _script):
        return self._said.splitlines()


class MergerTest(testtools.TestCase):

    def mounted(self, running):
        program = merger.write_program(
            self.useFixture(fixtures.TempDir()).path)
        made = merger.Merger(
            running, program,
            appliance.Drive('/disk', 'qcow2', False, 'delta'), '/disk', [])
        return made, made.mount()

    def run_command(self, command, said):
        made, _uuid = self.mounted(Appliance(said))
        return made.run(command)

    def test_disks_that_are_no_delta(self):
        self.assertEqual('1-2', self.mounted(Appliance())[1])
        for running in (Appliance(kind=''), Appliance(kind='xfs'),
                        Appliance(uuid='')):
            e = self.assertRaises(exception.ImageRefused, self.mounted,
                                  running)
            self.assertIn('not a delta', str(e))

    def test_answers(self):
        for command, said in (
                ('survey', {'lower_uuid': None, 'size_bytes': 7}),
                ('survey', {'lower_uuid': 'x', 'size_bytes': 0}),
                ('merge', {'written': 1, 'removed': 0, 'unclear': ['/a']})):
            self.assertEqual(said, self.run_command(command,
                                                    json.dumps(said)))

    def test_failures(self):
        for command in ('survey', 'merge'):
            e = self.assertRaises(exception.ImageRefused, self.run_command,
                                  command, '{"refused": "why\\u001b"}')
            self.assertEqual('/disk: why\\x1b', str(e))
            e = self.assertRaises(merger.Full, self.run_command, command,
                                  '{"full": "/boot"}')
            self.assertIn('/boot', str(e))

    def test_other_answers(self):
        """An appliance that a filesystem has taken over may say anything."""
        for command, said in (
                ('survey', ''), ('survey', '[]'), ('survey', '7'),
                ('survey', '[' * 100000), ('survey', '{}'),
                ('survey', '{"lower_uuid": 7, "size_bytes": 7}'),
                ('survey', '{"lower_uuid": null, "size_bytes": -1}'),
                ('survey', '{"lower_uuid": null, "size_bytes": 1e99}'),
                ('survey', '{"lower_uuid": null, "size_bytes": true}'),
                ('survey', '{"lower_uuid": null, "size_bytes": %s}'
                 % ('9' * 5000)),
                ('survey', '{"refused": "a", "full": "b"}'),
                ('survey', '{"refused": 7}'), ('survey', '\udcff'),
                ('merge', '{"written": 1, "removed": 0, "unclear": [7]}'),
                ('merge', '{"written": 1, "removed": 0, "unclear": "/a"}'),
                ('merge', '{"written": 1, "removed": 0, "unclear": [],'
                 ' "path": "/etc/shadow"}')):
            e = self.assertRaises(exception.ProgramFailed, self.run_command,
                                  command, said)
            self.assertIn('not a usable answer', str(e))
