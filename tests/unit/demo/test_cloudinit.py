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

"""The demo's table, verdict and picture."""

import testtools

from nova_flexmem.demo import cloudinit

_DRIVE = 'DataSourceConfigDrive [net,ver=2][source=/dev/sr0]'


class FaultTest(testtools.TestCase):

    def test_none(self):
        self.assertIsNone(cloudinit.fault(
            '{"v1": {"datasource": "%s", "errors": []}}' % _DRIVE))

    def test_no_config_drive_was_found(self):
        self.assertIn('DataSourceNone', cloudinit.fault(
            '{"v1": {"datasource": "DataSourceNone", "errors": []}}'))

    def test_errors(self):
        why = cloudinit.fault('{"v1": {"datasource": "%s", "errors": ["one",'
                              ' "another"]}}' % _DRIVE)
        self.assertIn('one; another', why)

    def test_what_is_no_result(self):
        for text in ('', '[]', '{}', '{"v1": 3}', 'cat: no such file', '\0'):
            self.assertIn('not understood', cloudinit.fault(text), text)
