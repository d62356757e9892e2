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
import signal
import time

import fixtures
import testtools

from nova_flexmem import exception
from nova_flexmem import process


class RunTest(testtools.TestCase):

    def assert_failed(self, cause, *argv, timeout_s=30, **how):
        e = self.assertRaises(exception.ProgramFailed, process.run, *argv,
                              timeout_s=timeout_s, **how)
        self.assertIn(argv[0], str(e))
        self.assertIn(cause, str(e))
        self.assertNotIn('\n', str(e))
        return e

    def test_output_and_input(self):
        self.assertEqual('a $HOME\n', process.run(
            'echo', 'a $HOME', timeout_s=30))
        self.assertEqual('text', process.run('cat', stdin='text',
                                             timeout_s=30))

    def test_failure_names_the_programs_last_words(self):
        self.assert_failed('the cause', 'sh', '-c',
                           'echo first >&2; echo the cause >&2; exit 3')
        self.assert_failed('exit code 3', 'sh', '-c', 'exit 3')
        process.run('sh', '-c', 'exit 3', timeout_s=30, expected=(0, 3))

    def test_not_installed(self):
        self.assert_failed('No such file', 'flexmem-no-such-program')

    def test_timeout_ends_the_program(self):
        folder = self.useFixture(fixtures.TempDir()).path
        pid_path = os.path.join(folder, 'pid')
        began = time.monotonic()
        self.assert_failed('no end after 8 s', 'sh', '-c',
                           f'echo $$ > {pid_path}; exec sleep 60',
                           timeout_s=8.4)
        self.assertLess(time.monotonic() - began, 40)
        with open(pid_path) as f:
            pid = int(f.read())
        for _attempt in range(50):
            if not _lives(pid):
                return
            time.sleep(0.1)
        self.fail(f'process {pid} goes on')

    def test_limits(self):
        folder = self.useFixture(fixtures.TempDir()).path
        path = os.path.join(folder, 'file')
        limits = process.Limits(file_size_bytes=4096)
        self.assert_failed('', 'dd', 'if=/dev/zero', f'of={path}', 'bs=4096',
                           'count=2', limits=limits)
        self.assertEqual(4096, os.path.getsize(path))
        self.assertEqual('5\n', process.run(
            'sh', '-c', 'ulimit -t', timeout_s=30,
            limits=process.Limits(cpu_s=5)))

    def test_how_it_ended(self):
        for script, code in (('exit 3', 3), ('kill -KILL $$', -9)):
            e = self.assert_failed('', 'sh', '-c', script)
            self.assertEqual(code, e.kwargs['code'])
        e = self.assert_failed('no end', 'sleep', '60', timeout_s=1)
        self.assertNotIn('code', e.kwargs)

    def test_processor_time_is_told_from_a_kill(self):
        e = self.assert_failed('signal 24', 'sh', '-c', 'while :; do :; done',
                               limits=process.Limits(cpu_s=1))
        self.assertEqual(-signal.SIGXCPU, e.kwargs['code'])

    def test_no_limits(self):
        self.assertEqual('unlimited\n', process.run(
            'sh', '-c', 'ulimit -t', timeout_s=30,
            limits=process.Limits(cpu_s=None)))

    def test_limits_of_a_disk(self):
        path = os.path.join(self.useFixture(fixtures.TempDir()).path, 'file')
        for how, cpu_s in (({}, 600 + 5 * 1024 // 20), ({'timeout_s': 9}, 9)):
            process.write_disk('sh', '-c', 'exec > "$0"; ulimit -f; ulimit -t',
                               path, size_bytes=5 << 30, **how)
            with open(path) as f:
                blocks, seconds = map(int, f)
            self.assertEqual((5 << 30) + (5 << 24) + (64 << 20), blocks * 512)
            self.assertEqual(cpu_s, seconds)

    def test_disk_above_the_limit_of_other_files(self):
        if not process.available('qemu-img'):
            self.skipTest('qemu-img is not installed')
        folder = self.useFixture(fixtures.TempDir()).path
        disk, out = (os.path.join(folder, name) for name in ('disk', 'out'))
        size = (65 << 30) + 512
        with open(disk, 'wb') as f:
            f.truncate(size)
            f.seek(-4, os.SEEK_END)
            f.write(b'last')
        command = ('qemu-img', 'convert', '-f', 'raw', '-O', 'raw', disk, out)
        self.assertRaises(exception.ProgramFailed, process.run, *command,
                          timeout_s=60)
        process.write_disk(*command, size_bytes=size)
        with open(out, 'rb') as f:
            f.seek(size - 4)
            self.assertEqual(b'last', f.read())

    def test_nothing_of_our_environment(self):
        self.useFixture(fixtures.EnvironmentVariable('OS_PASSWORD', 'secret'))
        out = process.run('env', timeout_s=30, env={'MORE': '1'})
        self.assertNotIn('secret', out)
        self.assertIn('LC_ALL=C.UTF-8\n', out)
        self.assertIn('MORE=1\n', out)

    def test_no_privileges_are_gained(self):
        self.assertIn('NoNewPrivs:\t1', process.run(
            'cat', '/proc/self/status', timeout_s=30))

    def test_available(self):
        self.assertTrue(process.available('sh'))
        self.assertFalse(process.available('flexmem-no-such-program'))


class StartTest(testtools.TestCase):

    def test_a_dialogue(self):
        popen = process.start('cat')
        popen.stdin.write('question\n')
        popen.stdin.flush()
        self.assertEqual('question\n', popen.stdout.readline())
        popen.communicate(timeout=30)
        self.assertEqual(0, popen.returncode)

    def test_daemon(self):
        folder = self.useFixture(fixtures.TempDir()).path
        log_path = os.path.join(folder, 'log')
        popen = process.daemon('sh', '-c', 'echo out; echo err >&2',
                               log_path=log_path)
        self.assertEqual(0, popen.wait(timeout=30))
        with open(log_path) as f:
            self.assertEqual({'out\n', 'err\n'}, set(f))


def _lives(pid):
    try:
        with open(f'/proc/{pid}/stat') as f:
            return f.read().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False
