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

"""The demo's workload, its script run here on this host's own /usr."""

import os
import subprocess
import tempfile

import testtools

from nova_flexmem.demo import workload

_MIB = 1 << 20


class _Host:
    """Runs scripts as a guest would."""

    def __init__(self, folder):
        self._folder = folder

    def output(self, script):
        return subprocess.run(['sh', '-c', script], check=True, text=True,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT,
                              env=os.environ | {'TMPDIR': self._folder}).stdout


class WorkloadTest(testtools.TestCase):

    def _read(self, size_bytes):
        with tempfile.TemporaryDirectory() as folder:
            host = _Host(folder)
            workload.choose_files(host, size_bytes)
            return workload.read_files(host)

    def test_reads_as_much_as_asked_and_always_the_same(self):
        first = self._read(2 * _MIB)
        again = self._read(2 * _MIB)
        self.assertGreaterEqual(first.size_bytes, 2 * _MIB)
        self.assertGreater(first.files, 1)
        self.assertEqual((first.files, first.size_bytes, first.digest),
                         (again.files, again.size_bytes, again.digest))

    def test_more_files_have_another_digest(self):
        self.assertNotEqual(self._read(_MIB).digest,
                            self._read(9 * _MIB).digest)

    def test_page_cache_is_of_files_and_devices_only(self):
        self.assertEqual(workload.PageCache(70, 10), workload.page_cache(
            {'Cached': 100, 'Shmem': 30, 'Buffers': 10, 'MemFree': 5}))
