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

import testtools

from nova_flexmem.bench import imagefiles
from nova_flexmem import exception

_LISTING = """\
9000000 755 /usr/bin/program
8000000 644 /usr/lib/a:b
7000000 644 /usr/lib/with space
6000000 644 /usr/lib/data
5000000 644 /usr/lib/x
4000000 755 /usr/lib/y
3000000 644 /usr/lib/z
2000000 644 /usr/lib/rest
"""


class ImageFilesTest(testtools.TestCase):

    def test_choose(self):
        """The changed one is no program; sets are about as large."""
        self.assertEqual(
            imagefiles.Files((('/usr/bin/program',),
                              ('/usr/lib/x', '/usr/lib/y')),
                             '/usr/lib/data', 6000000),
            imagefiles.choose(_LISTING, 2, 8000000))

    def test_image_with_few_large_files(self):
        error = self.assertRaises(exception.BenchFailed, imagefiles.choose,
                                  _LISTING, 5, 20 << 20)
        self.assertIn('5 times 20 MiB', str(error))

    def test_list(self):
        """Run here, on this host's own files."""
        output = subprocess.run(['sh', '-c', imagefiles.LIST], check=True,
                                text=True, stdout=subprocess.PIPE).stdout
        sizes = [int(line.split()[0]) for line in output.splitlines()]
        self.assertEqual(sorted(sizes, reverse=True), sizes)
        chosen = imagefiles.choose(output, 2, 1 << 20)
        for files in chosen.sets:
            self.assertGreaterEqual(sum(map(os.path.getsize, files)), 1 << 20)
        self.assertEqual(chosen.changed_bytes, os.path.getsize(chosen.changed))
