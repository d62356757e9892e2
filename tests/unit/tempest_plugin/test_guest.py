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

import base64
import json
import subprocess

import fixtures
import testtools

from nova_flexmem.tempest_plugin import guest

_STATUS = {'boots': 1, 'root': 'overlay', 'lower': 'erofs', 'dax': True,
           'root_bytes': 4096}


def _line(**changes):
    return 'FLEXMEM-TEMPEST ' + json.dumps(_STATUS | changes)


class UserDataTest(testtools.TestCase):

    def test_cloud_config_with_a_script(self):
        text = base64.b64decode(guest.user_data()).decode()
        first, rest = text.split('\n', 1)
        self.assertEqual('#cloud-config', first)
        [command] = json.loads(rest)['bootcmd']
        self.assertEqual(['sh', '-c'], command[:2])
        subprocess.run(['sh', '-n', '-c', command[2]], check=True)
        self.assertLess(len(guest.user_data()), 65535)  # Nova's limit

    def test_the_script_says_what_is_read(self):
        """Elsewhere than in a guest, all but the file and the console."""
        folder = self.useFixture(fixtures.TempDir()).path
        script = guest._SCRIPT.replace(
            '/var/lib/', f'{folder}/').replace('/dev/ttyS0', f'{folder}/out')
        for boots in (1, 2):
            subprocess.run(['sh', '-c', script.replace('sleep 1', ':')],
                           check=True)
            with open(f'{folder}/out') as f:
                status = guest.status(f.read())
            self.assertEqual(boots, status.boots)
            self.assertFalse(status.dax)
            self.assertEqual('', status.lower)
            self.assertGreater(status.root_bytes, 0)


class StatusTest(testtools.TestCase):

    def test_none_yet(self):
        self.assertIsNone(guest.status(''))
        self.assertIsNone(guest.status('Debian GNU/Linux 12 debian ttyS0\n'))

    def test_the_last_counts(self):
        console = '\n'.join([_line(), 'login:', _line(boots=2), 'login:'])
        self.assertEqual(guest.Status(**_STATUS | {'boots': 2}),
                         guest.status(console))

    def test_lines_that_others_wrote_into(self):
        whole = _line()
        for torn in (whole[:30], whole.replace(',', ', [ 12.3] random: '),
                     'FLEXMEM-TEMPEST {"boots": 3}', 'FLEXMEM-TEMPEST []'):
            self.assertEqual(guest.Status(**_STATUS),
                             guest.status(f'{whole}\r\n{torn}\r\n'))
            self.assertIsNone(guest.status(torn))

    def test_behind_something_else(self):
        self.assertEqual(guest.Status(**_STATUS),
                         guest.status('debian login: ' + _line()))
