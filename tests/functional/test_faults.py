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

"""What may befall a build: kill -9 at any point, a full or read-only disk."""

import os
import signal
import subprocess
import tempfile

import testtools

from tests.functional import harness
from tests.functional import small_image

#: The copy of the image needs 2 MiB, the base 6.
_TOO_SMALL_MIB = (1, 3, 5)


class FaultsTest(testtools.TestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if os.geteuid() != 0:
            raise cls.skipException('needs root, to mount small filesystems')
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory(
            prefix='flexmem-faults-', dir='/var/tmp'))
        cls.store = harness.new_store(cls.folder)
        cls.image = os.path.join(cls.folder, 'good.raw')
        small_image.create(cls.image, cls.store)

    def _run(self, *words, store=None):
        return harness.Command(store or self.store, *words).end()

    def _build(self, store):
        """Build the image's base in an empty store.

        :returns: its files, and the stages of the build, a list of lines
        """
        code, _out, err = self._run('build', self.image, store=store)
        self.assertEqual(0, code, err)
        base = store.get(store.keys()[0])
        base.verify()
        return base.manifest.files, err.splitlines()

    def test_kill_9_leaves_nothing(self):
        folder = tempfile.mkdtemp(dir=self.folder)
        files, stages = self._build(harness.new_store(folder))
        self.assertGreater(len(stages), 8, stages)
        # make drills DRILLS=killed does so at random points
        for stage in (1, len(stages) // 2, len(stages) - 1):
            self._kill_at(stage)
        # and one image gives one base
        self.assertEqual(files, self._build(self.store)[0])

    def _kill_at(self, stage):
        """Kill a build as a stage begins, and look at what it leaves."""
        with harness.Command(self.store, 'build', self.image) as command:
            for _line in range(stage + 1):
                self.assertTrue(command.wait_for_line(), command.lines)
            command.send_signal(signal.SIGKILL)
            command.wait()
        harness.wait_for_helpers_to_end(self.store)
        code, _out, err = self._run('list')
        self.assertEqual(0, code, err)
        self.assertEqual([], os.listdir(self.store.folder('builds')))
        for key in self.store.keys():  # it was quicker than the signal
            self.store.get(key).verify()
            self.store.remove(key)

    def test_full_disk(self):
        for size_mib in _TOO_SMALL_MIB:
            store = self._store_on_tmpfs(f'size={size_mib}m')
            code, _out, err = self._run('build', self.image, store=store)
            self.assertNotEqual(0, code)
            self.assertIn('No space left on device', err.splitlines()[-1])
            self.assertEqual([], os.listdir(store.folder('builds')))
            self.assertEqual([], store.keys())

    def test_read_only_disk(self):
        store = self._store_on_tmpfs('size=1m')
        subprocess.run(['mount', '-o', 'remount,ro', store.path], check=True)
        code, _out, err = self._run('build', self.image, store=store)
        self.assertNotEqual(0, code)
        self.assertIn('Read-only file system', err.splitlines()[-1])

    def _store_on_tmpfs(self, options):
        path = tempfile.mkdtemp(dir=self.folder)
        subprocess.run(['mount', '-t', 'tmpfs', '-o', options, 'test', path],
                       check=True)
        self.addCleanup(subprocess.run, ['umount', '--lazy', path],
                        check=True)
        return harness.store_at(path)
