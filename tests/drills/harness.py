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

"""What the drills share: a small image, stores, processes, figures."""

import atexit
import functools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

import testtools

from tests.functional import harness as functional
from tests.functional import small_image

MIB = 1 << 20

#: Where figures go, a line of JSON each; tests.drills shows them as a table.
_FIGURES = os.environ.get('FLEXMEM_DRILL_FIGURES', '/dev/null')

SEED = int(os.environ.get('FLEXMEM_DRILL_SEED', random.randrange(10 ** 6)))

#: How many random points there are, of builds and spawns together.
POINTS = int(os.environ.get('FLEXMEM_DRILL_POINTS', 50))

#: What lies in a store aside from bases and what is recorded of them.
_NO_TRACES = ('appliance', 'locks')


class DrillTestCase(testtools.TestCase):
    """Tells figures."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if os.geteuid() != 0:
            raise cls.skipException('needs root, to mount filesystems')

    def setUp(self):
        super().setUp()
        self.random = random.Random(SEED)
        self.folder = tempfile.mkdtemp(prefix='flexmem-drill-',
                                       dir='/var/tmp')
        self.addCleanup(shutil.rmtree, self.folder)

    def figures(self, **found):
        """Tell what a drill found, in the order of the table's row."""
        drill = self.id().rpartition('.')[2].removeprefix('test_')
        with open(_FIGURES, 'a') as f:
            f.write(json.dumps({'drill': drill.replace('_', ' '),
                                'figures': found}) + '\n')
        print(f'{drill}: {found}', file=sys.stderr)

    def command(self, store, *words, env=None):
        """Run a command of "nova-flexmem image".

        :returns: (its exit code, its output, the last line of its errors)
        """
        started = functional.Command(store, *words, env=env)
        out, err = started.communicate()
        self.assertNotIn('Traceback', err)
        return started.returncode, out, (err.splitlines() or [''])[-1]

    def new_folder(self):
        """Return a new, empty folder."""
        return tempfile.mkdtemp(dir=self.folder)

    def new_store(self):
        """Return a new, empty Store."""
        return functional.new_store(self.new_folder())

    def mount(self, *words):
        """Mount a filesystem for the time of the test; return where."""
        path = self.new_folder()
        subprocess.run(['mount', *words, path], check=True)
        self.addCleanup(subprocess.run, ['umount', '--lazy', path],
                        check=True)
        return path


@functools.cache
def image():
    """Return the path of an image that becomes a base in seconds."""
    folder = tempfile.mkdtemp(prefix='flexmem-drill-', dir='/var/tmp')
    atexit.register(shutil.rmtree, folder)
    path = os.path.join(folder, 'good.raw')
    small_image.create(path, functional.new_store(folder))
    return path


def traces(store):
    """Return what a store has of bases: the paths below it, sorted."""
    found = []
    for path, folders, names in os.walk(store.path):
        if path == store.path:
            folders[:] = [name for name in folders if name not in _NO_TRACES]
        found += [os.path.relpath(os.path.join(path, name), store.path)
                  for name in (*folders, *names) if name not in _NO_TRACES]
    return sorted(found)
