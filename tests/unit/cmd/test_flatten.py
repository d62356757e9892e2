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

import contextlib
import hashlib
import io
import os
import subprocess

import fixtures
import testtools

from nova_flexmem.cmd import main
from nova_flexmem.cmd import signals
from nova_flexmem import process

MIB = 1 << 20


class FlattenTest(testtools.TestCase):
    """What is refused before an appliance starts."""

    def setUp(self):
        super().setUp()
        if not process.available('qemu-img'):
            self.skipTest('qemu-img is not installed')
        self.patch(signals, 'clean_up_on_signals', lambda: None)
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.useFixture(fixtures.FakeLogger())
        self.image = self.file('image', b'image' + bytes(2 * MIB - 5))
        self.delta = self.file('delta', bytes(MIB))
        self.out = self.path('out/disk')
        os.mkdir(self.path('out'))

    def path(self, name):
        return os.path.join(self.folder, name)

    def file(self, name, content):
        with open(self.path(name), 'wb') as f:
            f.write(content)
        return self.path(name)

    def refusal(self, image, delta, *words):
        """Run a command that must fail; return its one line of error."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main.main(['--store', self.path('store'), 'image',
                                'flatten', image, delta, self.out, *words])
        self.assertEqual((1, ''), (status, out.getvalue()), err.getvalue())
        self.assertNotIn('Traceback', err.getvalue())
        self.assertEqual([], [name for name in os.listdir(self.path('out'))
                              if name != 'there'])
        return err.getvalue().splitlines()[-1]

    def test_files_that_are_not_there(self):
        none = self.path('none')
        for pair in ((none, self.delta), (self.image, none)):
            self.assertIn(f'{none}: No such file', self.refusal(*pair))
        self.out = self.path('none/disk')
        self.assertIn(self.path('none'), self.refusal(self.image, self.delta))

    def test_file_that_is_there(self):
        self.out = self.path('out/there')
        with open(self.out, 'x') as f:
            f.write('precious')
        said = self.refusal(self.image, self.delta)
        self.assertIn(f'{self.out}: is there already', said)
        with open(self.out) as f:
            self.assertEqual('precious', f.read())

    def test_files_with_other_files_behind_them(self):
        qcow2 = self.path('qcow2')
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', '-F',
                        'raw', '-b', self.image, qcow2], check=True)
        for pair in ((qcow2, self.delta), (self.image, qcow2)):
            said = self.refusal(*pair)
            self.assertTrue(said.startswith(f'{qcow2}: '), said)
            self.assertIn('backing', said)

    def test_image_of_another_digest(self):
        with open(self.image, 'rb') as f:
            sha256 = hashlib.file_digest(f, 'sha256').hexdigest()
        other = 64 * '0'
        said = self.refusal(self.image, self.delta, '--image-sha256', other)
        for words in (self.image, sha256, other, 'flexmem_base_image'):
            self.assertIn(words, said)

    def test_sizes(self):
        for size, cause in {'1KiB': 'larger than --size', 'much': 'not a size',
                            '-1GiB': 'not a size', '0GiB': 'not a size',
                            '1TiB': 'max_virtual_size_gib'}.items():
            self.assertIn(cause, self.refusal(self.image, self.delta,
                                              f'--size={size}'), size)
