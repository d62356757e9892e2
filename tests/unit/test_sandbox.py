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

import json
import os
import sys

import fixtures
import testtools

from nova_flexmem import process
from nova_flexmem import sandbox

#: struct landlock_ruleset_attr by ABI, from linux/landlock.h.
_HANDLED = {1: (0x1fff,), 2: (0x3fff,), 3: (0x7fff,), 4: (0x7fff, 3),
            5: (0xffff, 3), 6: (0xffff, 3, 3), 7: (0xffff, 3, 3),
            99: (0xffff, 3, 3)}

#: Enters a sandbox and does what it is told; prints an error's number each.
_PROGRAM = """
import json, os, socket, sys
from nova_flexmem import sandbox
read, write, attempts = json.load(sys.stdin)
assert sandbox.enter(read, write)
for attempt in attempts:
    try:
        eval(attempt)
        print(0)
    except OSError as e:
        print(e.errno)
"""
_EACCES = 13


class RulesTest(testtools.TestCase):

    def test_what_each_abi_handles(self):
        self.assertEqual(_HANDLED, {version: sandbox.handled(version)
                                    for version in _HANDLED})

    def test_a_kernel_without_it(self):
        folder = self.useFixture(fixtures.TempDir()).path
        path = os.path.join(folder, 'file')
        # ABI 1 forbids all renames between folders
        for version in (0, 1):
            self.patch(sandbox, 'abi', lambda version=version: version)
            self.assertIn('no Landlock', sandbox.problem())
            self.assertFalse(sandbox.enter((), ()))
            with open(path, 'w') as f:
                f.write('not limited')

    def test_public_files(self):
        folder = self.useFixture(fixtures.TempDir()).path
        os.chmod(folder, 0o755)
        for name, mode in (('all/a', 0o644), ('all/below/b', 0o444),
                           ('some/open', 0o644), ('some/private', 0o640),
                           ('closed/file', 0o644)):
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
            with open(path, 'w'):
                os.chmod(path, mode)
        os.symlink('private', os.path.join(folder, 'some/link'))
        os.chmod(os.path.join(folder, 'closed'), 0o700)
        self.assertEqual(
            [os.path.join(folder, name) for name in ('all', 'some/open')],
            sorted(sandbox.public(folder)))
        all_public = os.path.join(folder, 'all')
        self.assertEqual([all_public], sandbox.public(all_public))


class EnterTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        if sandbox.problem():
            self.skipTest(sandbox.problem())
        self.folder = self.useFixture(fixtures.TempDir()).path
        for name in ('read', 'write', 'write/below', 'other'):
            os.mkdir(self.path(name))
            with open(self.path(f'{name}/file'), 'w') as f:
                f.write(name)

    def path(self, name):
        return os.path.join(self.folder, name)

    def attempt(self, *attempts):
        """Return what attempts come to in a sandbox, 0 for success."""
        attempts = [attempt.replace('DIR', self.folder)
                    for attempt in attempts]
        # what the program imports it has by then
        read = [self.path('read'), self.path('missing')]
        out = process.run(
            sys.executable, '-c', _PROGRAM, timeout_s=60,
            env={'PYTHONPATH': os.pathsep.join(sys.path)},
            stdin=json.dumps([read, [self.path('write')], attempts]))
        return [int(line) for line in out.split()]

    def test_what_is_allowed(self):
        attempts = (
            'open("DIR/read/file").read()', 'os.listdir("DIR/read")',
            'open("DIR/write/new", "w").write("x")',
            'os.rename("DIR/write/new", "DIR/write/below/new")',
            'os.truncate("DIR/write/below/new", 0)',
            'os.mkdir("DIR/write/folder")', 'os.rmdir("DIR/write/folder")',
            'os.symlink("/", "DIR/write/link")',
            'os.unlink("DIR/write/link")', 'open("/dev/null", "w").write("x")',
            'open("/dev/urandom", "rb").read(1)', 'open("/etc/passwd").read()',
            'open("/proc/self/maps").read()')
        self.assertEqual([0] * len(attempts), self.attempt(*attempts))

    def test_what_is_forbidden(self):
        attempts = [
            'open("DIR/other/file").read()', 'os.listdir("DIR/other")',
            'os.listdir("DIR")', 'open("DIR/read/file", "a")',
            'open("DIR/read/new", "w")', 'os.unlink("DIR/read/file")',
            'os.mkdir("DIR/folder")', 'os.symlink("/", "DIR/link")',
            'open("/etc/shadow").read()',
            'os.mkfifo("DIR/other/fifo")', 'os.rmdir("DIR/read")',
            f'open("/proc/{os.getpid()}/environ").read()',
            'os.execv("DIR/write/file", ["file"])']
        os.chmod(self.path('write/file'), 0o755)
        if sandbox.abi() >= 3:
            attempts.append('os.truncate("DIR/other/file", 0)')
        if sandbox.abi() >= 4:
            attempts.append('socket.create_connection(("127.0.0.1", 1))')
        self.assertEqual([_EACCES] * len(attempts), self.attempt(*attempts))
        with open(self.path('other/file')) as f:
            self.assertEqual('other', f.read())

    def test_no_way_between(self):
        """EXDEV or EACCES, by the direction."""
        for answer in self.attempt(
                'os.rename("DIR/read/file", "DIR/write/moved")',
                'os.link("DIR/other/file", "DIR/write/linked")',
                'os.rename("DIR/write/file", "DIR/other/file")'):
            self.assertIn(answer, (_EACCES, 18))
        self.assertEqual(['below', 'file'],
                         sorted(os.listdir(self.path('write'))))
