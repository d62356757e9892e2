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
from unittest import mock

import fixtures
import testtools

from nova_flexmem.base import appliance
from nova_flexmem import exception

#: Answers as guestfish does; each start takes a line of the file "orders".
_GUESTFISH = """\
#!/bin/sh
order=$(head -n 1 {folder}/orders)
sed -i 1d {folder}/orders
echo start >> {folder}/starts
while read -r word rest; do
    case $word in
    echo) echo "$rest" ;;
    debug) for letter in $order; do echo "/dev/sd$letter"; done ;;
    esac
done
"""


class OrderTest(testtools.TestCase):
    """The kernel's names for disks must be those that libguestfs uses."""

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        program = os.path.join(self.folder, 'guestfish')
        with open(program, 'w') as f:
            f.write(_GUESTFISH.format(folder=self.folder))
        os.chmod(program, 0o755)
        self.useFixture(fixtures.MockPatchObject(
            appliance, '_environment', return_value={
                'PATH': f'{self.folder}:{os.environ["PATH"]}'}))

    def start(self, *orders):
        """Start an appliance; returns how many starts that took."""
        with open(os.path.join(self.folder, 'orders'), 'w') as f:
            f.writelines(f'{order}\n' for order in orders)
        drives = [appliance.Drive(f'/{label}', 'raw', True, label)
                  for label in ('one', 'two')]
        with appliance.Appliance(self.folder, drives, timeout_s=60,
                                 file_size_bytes=1) as started:
            self.assertEqual(['/dev/sda', '/dev/sdb'], started.shell('true'))
        with open(os.path.join(self.folder, 'starts')) as f:
            return len(f.readlines())

    def test_in_order(self):
        self.assertEqual(1, self.start('a b'))

    def test_out_of_order(self):
        self.assertEqual(3, self.start('b a', 'c a', 'a b'))

    def test_never_in_order(self):
        e = self.assertRaises(exception.ProgramFailed, self.start,
                              *['b a'] * 9)
        self.assertIn('order', str(e))

    def test_an_error_ends_it(self):
        with mock.patch.object(appliance.Appliance, 'shell', autospec=True,
                               side_effect=exception.ProgramFailed(
                                   program='guestfish', reason='broken')):
            e = self.assertRaises(exception.ProgramFailed, self.start, 'a b')
        self.assertIn('broken', str(e))
