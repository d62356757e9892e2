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

import errno
import os
import shutil
import struct
import subprocess

import fixtures
import testtools

from nova_flexmem.build import kexecprogram


class KexecProgramTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path

    def _path(self, name):
        return os.path.join(self.folder, name)

    def test_machine_code(self):
        if not shutil.which('as'):
            self.skipTest('needs as and objcopy, of package binutils')
        subprocess.run(
            ['as', '--64', '-o', self._path('o'), '-'], check=True, text=True,
            input=''.join(f'{text}\n' for _code, text in kexecprogram.CODE))
        subprocess.run(['objcopy', '-O', 'binary', self._path('o'),
                        self._path('bin')], check=True)
        with open(self._path('bin'), 'rb') as f:
            self.assertEqual(f.read().hex(),
                             ''.join(code for code, _ in kexecprogram.CODE))

    def test_header(self):
        content = kexecprogram.program()
        entry, segments = struct.unpack_from('<QQ', content, 24)
        offset, address = struct.unpack_from('<QQ', content, segments + 8)
        size, = struct.unpack_from('<Q', content, segments + 32)
        code = bytes.fromhex(kexecprogram.CODE[0][0])
        self.assertEqual(code, content[entry - address + offset:][:len(code)])
        self.assertEqual(len(content), size)

    def test_exit_code_is_the_errno(self):
        path = self._path('kexec')
        with open(path, 'wb') as f:
            f.write(kexecprogram.program())
        os.chmod(path, 0o755)
        for files in (('/nowhere', path), (path, '/nowhere')):
            self.assertEqual(errno.ENOENT, subprocess.run(
                [path, *files, 'quiet'], timeout=60).returncode)
        # this file is no kernel; most machines do not let tests load any
        self.assertIn(
            subprocess.run([path, path, path, 'quiet'], timeout=60).returncode,
            (errno.EPERM, errno.ENOSYS, errno.ENOEXEC, errno.EINVAL))
