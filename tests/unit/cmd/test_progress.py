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

import io

import testtools

from nova_flexmem.cmd import progress


class _Terminal(io.StringIO):

    def isatty(self):
        return True


class ProgressTest(testtools.TestCase):

    def _report(self, stream):
        with progress.Progress(stream) as reporter:
            reporter('reading the image', 0.0)
            reporter('reading the image', 0.5)
            reporter('reading the image', 1.0)
            reporter('starting the appliance', None)
        return stream.getvalue()

    def test_plain_lines_one_per_stage(self):
        lines = self._report(io.StringIO()).splitlines()
        self.assertEqual(2, len(lines))
        self.assertRegex(lines[0], r'^ *\d+\.\d s  reading the image$')
        self.assertRegex(lines[1], r'^ *\d+\.\d s  starting the appliance$')

    def test_share_on_a_terminal(self):
        lines = self._report(_Terminal()).split('\n')
        self.assertEqual(3, len(lines))
        self.assertRegex(lines[0], r'\r *\d+\.\d s  reading the image   50%\r')
        self.assertRegex(lines[1], r'^ *\d+\.\d s  starting the appliance$')

    def test_line_of_an_error_begins_on_a_line_of_its_own(self):
        said = self._report(_Terminal())
        self.assertTrue(said.endswith('\n'), repr(said[-80:]))

    def test_nothing_to_report(self):
        stream = io.StringIO()
        with progress.Progress(stream):
            pass
        self.assertEqual('', stream.getvalue())
