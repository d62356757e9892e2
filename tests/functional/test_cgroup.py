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
print('taken')
"""


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
            group.take(popen.pid, charged_elsewhere_bytes)
            popen.communicate('\n')
        return popen.returncode

    def test_limit(self):
        with cgroup.Cgroup(100 * MIB) as group:
            self.assertEqual(0, self._take(group, 60))
            self.assertEqual(0, group.oom_kills)
            self.assertEqual(-9, self._take(group, 120))
            self.assertEqual(1, group.oom_kills)
            path = group._path
        self.assertFalse(os.path.exists(path))

    def test_charged_elsewhere(self):
        with cgroup.Cgroup(100 * MIB) as group:
            self.assertEqual(-9, self._take(group, 60, 60 * MIB))
