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

"""What commands that start guests refuse before they take any time."""

import contextlib
import io
import os
import sys
from unittest import mock

import fixtures

from nova_flexmem.cmd import arguments
from nova_flexmem.cmd import main
from nova_flexmem.cmd import signals
from nova_flexmem import exception
from nova_flexmem.host import ksm_switch
from tests.unit.host import ksm_files


class RefusedTest(ksm_files.KsmFilesTestCase):

    files = {'run': '0'}

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        self.patch(signals, 'clean_up_on_signals', lambda: None)
        self.patch(ksm_switch, 'Switch', lambda: self.switch)
        self.patch(arguments, 'image', self._image)
        self.output = os.path.join(
            self.useFixture(fixtures.TempDir()).path, 'results')

    def _image(self, *_args):
        raise exception.BenchFailed(reason='the image is built now')

    def refusal(self, *words):
        """Run a command that must fail; return its one line of error."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main.main([*words])
        self.assertEqual((1, ''), (status, out.getvalue()), err.getvalue())
        self.assertEqual(1, len(err.getvalue().splitlines()), err.getvalue())
        return err.getvalue()

    def test_ksm_is_on_already(self):
        self.write('run', '1')
        for words in ((), ('--fit', '3G')):
            self.assertIn('it is scanning already', self.refusal(
                'bench', 'density', *words))
            self.assertIn('the image is built now', self.refusal(
                'bench', 'density', '--ksm-counts', '', *words))

    def test_no_ksm(self):
        os.unlink(os.path.join(self.folder, 'run'))
        self.assertIn('this kernel has no KSM',
                      self.refusal('bench', 'density'))

    def test_ksm_of_a_benchmark_that_was_killed(self):
        """It is put back, as when KSM is switched on."""
        os.makedirs(os.path.dirname(self.state))
        with open(self.state, 'w') as f:
            f.write('{"pid": 0, "started": "1", "former": {}}')
        self.write('run', '1')
        self.assertIn('the image is built now',
                      self.refusal('bench', 'density'))
        self.assertEqual('0', self.read('run'))

    def test_more_memory_than_page_types_are_told_of(self):
        much = ('bench', 'density', '--ram-mib', '2049')
        said = self.refusal(*much)
        for part in ('2048 MiB', '--ram-mib', '--ksm-counts'):
            self.assertIn(part, said)
        for words in ((*much, '--ksm-counts', ''), (*much, '--fit', '3G')):
            self.assertIn('the image is built now', self.refusal(*words))

    def test_demo_without_matplotlib(self):
        with mock.patch.dict(sys.modules, {'matplotlib': None}):
            said = self.refusal('demo', '--output', self.output)
        self.assertIn('install nova-flexmem[demo]', said)
        self.assertFalse(os.path.exists(self.output))

    def test_demo_without_a_folder(self):
        open(self.output, 'x').close()
        said = self.refusal('demo', '--output', self.output)
        self.assertIn(f'{self.output}: no results can be written', said)

    def test_demo_that_can_be(self):
        self.assertIn('the image is built now',
                      self.refusal('demo', '--output', self.output))
        self.assertTrue(os.path.isdir(self.output))
