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

import fixtures
import testtools

from nova_flexmem.build import rootfs
from nova_flexmem.build import roottree
from nova_flexmem import exception
from nova_flexmem.image import kernel
from nova_flexmem import process


class MeasureTest(testtools.TestCase):

    def test_tree(self):
        for program in ('gawk', 'find', 'bash'):
            if not process.available(program):
                self.skipTest(f'{program} is not installed')
        folder = self.useFixture(fixtures.TempDir()).path
        tree = os.path.join(folder, 'tree')
        os.mkdir(tree)
        for name, size in (('a', 1), ('empty', 0), ('n' * 254, 4097),
                           ('\udcff' * 255, 4096), ('n\n' + 'x' * 253, 0)):
            with open(os.path.join(tree, name), 'wb') as f:
                f.write(bytes(size))
        os.link(os.path.join(tree, 'a'), os.path.join(tree, 'b'))
        os.mkdir(os.path.join(tree, 'folder'))
        self.assertEqual(
            rootfs.Content(blocks=6, inodes=7, longest_names=2,
                           btrfs_properties=0),
            roottree.measure(_Shell(folder, '/sysroot', tree)))

    def test_answers_that_are_none(self):
        for answer in ('', '1 2', '1 2 0', '1 2 x 0', '1e3 2 0 0',
                       '1 -2 0 0', '1 2 3 4 5', f'{"9" * 5000} 1 0 0'):
            e = self.assertRaises(exception.ProgramFailed, roottree.measure,
                                  _Answer(answer))
            self.assertIn('not four sizes', str(e))


class ChooseTest(testtools.TestCase):
    """Which root filesystem a base gets."""

    def chosen(self, wanted, able, **odd):
        found = kernel.Kernel('6.1', b'', able, ('nvdimm',), (), ())
        return roottree.choose_rootfs(
            wanted, found, rootfs.Content(1, 1, **odd), '/image').name

    def test_what_the_kernel_can(self):
        self.assertEqual('erofs', self.chosen('auto', ('erofs', 'ext4')))
        self.assertEqual('ext4', self.chosen('auto', ('ext4',)))
        self.assertEqual('ext4', self.chosen('ext4', ('erofs', 'ext4')))
        e = self.assertRaises(exception.ImageRefused, self.chosen, 'erofs',
                              ('ext4',))
        self.assertIn('/image', str(e))
        self.assertIn('cannot mount erofs with DAX', str(e))

    def test_what_it_cannot_have(self):
        for odd, said in (({'longest_names': 1}, 'names of 255 bytes'),
                          ({'btrfs_properties': 1}, 'properties of btrfs')):
            self.assertEqual(
                'ext4', self.chosen('auto', ('erofs', 'ext4'), **odd))
            e = self.assertRaises(
                exception.ImageRefused, self.chosen, 'erofs',
                ('erofs', 'ext4'), **odd)
            self.assertIn(said, str(e))


class _Answer:

    def __init__(self, answer):
        self._answer = answer

    def shell(self, _script):
        return self._answer.splitlines()


class _Shell:
    """Runs scripts here, on another folder."""

    def __init__(self, folder, old, new):
        self._folder, self._old, self._new = folder, old, new

    def shell(self, script):
        done = subprocess.run(
            ['bash', '-eu', '-o', 'pipefail', '-c',
             script.replace(self._old, self._new)], check=True,
            cwd=self._folder, stdout=subprocess.PIPE, text=True)
        return done.stdout.splitlines()
