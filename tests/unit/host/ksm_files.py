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

"""Files in place of the kernel's, for tests of what switches KSM."""

import os

import fixtures
import testtools

from nova_flexmem.host import ksm_switch


class KsmFilesTestCase(testtools.TestCase):
    """Has a folder with KSM's files, and a Switch of it.

    :cvar files: {name: text}
    """

    files: dict[str, str]

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        for name, text in self.files.items():
            self.write(name, text)
        self.state = os.path.join(
            self.useFixture(fixtures.TempDir()).path, 'run', 'ksm.json')
        self.switch = ksm_switch.Switch(self.folder, self.state)
        self.useFixture(fixtures.MonkeyPatch(
            'nova_flexmem.host.ksm.cpu_s', lambda: 1.5))
        self.useFixture(fixtures.MonkeyPatch(
            'nova_flexmem.host.ksm._POLL_S', 0.01))

    def write(self, name, text):
        with open(os.path.join(self.folder, name), 'w') as f:
            f.write(text)

    def read(self, name):
        with open(os.path.join(self.folder, name)) as f:
            return f.read()
