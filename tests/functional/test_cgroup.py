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

"""The control group in which guests are tried, on this host's kernel."""

import errno
import os
import subprocess
import sys

import testtools

from nova_flexmem.bench import cgroup
from nova_flexmem import exception

MIB = 1 << 20

_TAKES_MEMORY = """
import sys
sys.stdin.readline()
taken = b'x' * (int(sys.argv[1]) << 20)
print('taken', flush=True)
"""

_HOLDS_MEMORY = f'{_TAKES_MEMORY}sys.stdin.readline()\n'


class CgroupTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest('needs root, to make control groups')
        try:
            with cgroup.Cgroup(MIB):
                pass
        except exception.BenchFailed as e:
            self.skipTest(str(e))

    def _take(self, group, mib, charged_elsewhere_bytes=0):
        """Have a process of the group take memory; return its exit code."""
        with subprocess.Popen(
                [sys.executable, '-c', _TAKES_MEMORY, str(mib)], text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE) as popen:
            try:
                group.take(popen.pid, charged_elsewhere_bytes)
            finally:
                popen.communicate('\n')
        return popen.returncode

    def test_limit(self):
        with cgroup.Cgroup(100 * MIB) as group:
            self.assertEqual(0, self._take(group, 60))
            self.assertFalse(group.ran_out())
            self.assertEqual(-9, self._take(group, 120))
            self.assertTrue(group.ran_out())
            path = group._path
        self.assertFalse(os.path.exists(path))

    def test_no_room_for_what_is_charged_elsewhere(self):
        with cgroup.Cgroup(100 * MIB) as group, subprocess.Popen(
                [sys.executable, '-c', _HOLDS_MEMORY, '60'], text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            group.take(holder.pid, 0)
            holder.stdin.write('\n')
            holder.stdin.flush()
            self.assertEqual('taken\n', holder.stdout.readline())
            self.assertFalse(group.ran_out())
            try:
                self._take(group, 0, 60 * MIB)
            except OSError as e:  # of version 1; version 2 kills
                self.assertEqual(errno.EBUSY, e.errno)
            self.assertTrue(group.ran_out())
            holder.communicate('\n')

    def test_charged_elsewhere(self):
        with cgroup.Cgroup(100 * MIB) as group:
            self.assertEqual(-9, self._take(group, 60, 60 * MIB))
