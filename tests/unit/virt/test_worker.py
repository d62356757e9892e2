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
from oslo_config import cfg
import testtools

from nova_flexmem import conf as flexmem_conf
from nova_flexmem import exception
from nova_flexmem import process
from nova_flexmem import sandbox
from nova_flexmem.virt import worker

_NOBODY = 65534

#: A worker with one more task: what somebody may try who has taken it over.
#: Its result tells what came of each try, by what was tried.
_TAKEN_OVER = """
import os, subprocess
from nova_flexmem.build import rootfs
from nova_flexmem.virt import worker

def append(path):
    with open(path, 'a') as f:
        f.write('from the worker')

def read(path):
    with open(path) as f:
        return f.read()

def take_over(_conf, tries):
    results = []
    for name, *words in tries:
        try:
            if name == 'load':
                results.append(rootfs.load(words[0]).name)
            elif name == 'run':
                done = subprocess.run(words, stdout=-1, stderr=-2, text=True)
                results.append(f'{done.returncode} {done.stdout}')
            else:
                results.append(globals()[name](*words))
        except OSError as e:
            results.append(type(e).__name__)
    return results

worker.TASKS['take over'] = take_over
worker.main()
"""


class WorkerTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        conf = cfg.ConfigOpts()
        flexmem_conf.register_opts(conf)
        self.group = conf.flexmem

    def answer(self, text):
        self.patch(process, 'run', lambda *_args, **_kwargs: text)
        return worker.call('check', self.group, key='a-key')

    def test_a_result(self):
        self.assertEqual({'key': 5}, self.answer('{"result": {"key": 5}}'))

    def test_what_it_raised(self):
        e = self.assertRaises(exception.ImageRefused, self.answer, json.dumps(
            {'raised': 'ImageRefused',
             'kwargs': {'image': 'file', 'reason': 'it is odd'}}))
        self.assertEqual('file: it is odd', str(e))

    def test_nonsense(self):
        for text in ('', 'Killed', 'warning: odd\n{"result": 5}', '5', '[]',
                     'null', '{}', '{"raised": "NoSuchException"}',
                     '{"raised": "NoSuchException", "kwargs": {}}',
                     '{"raised": "ImageRefused", "kwargs": {}}',
                     '{"raised": "ImageRefused", "kwargs": 5}',
                     '{"raised": 5, "kwargs": {}}',
                     '{"raised": "one_line", "kwargs": {"text": "x"}}'):
            e = self.assertRaises(exception.ProgramFailed, self.answer, text)
            self.assertIn('the worker for check', str(e), text)
            self.assertIn('restart nova-compute', str(e))

    def test_a_real_one(self):
        """It knows its tasks, and says what a task raises."""
        e = self.assertRaises(exception.FlexMemException, worker.call,
                              'verify', self.group, folder='/no/such/folder')
        self.assertIn('/no/such/folder', str(e))


class TakenOverTest(testtools.TestCase):
    """It runs as its user, which is not root."""

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.store = self.path('store')
        self.key = self.path('home/.ssh/id_ed25519')
        for path in (self.store, self.path('tmp'), os.path.dirname(self.key)):
            os.makedirs(path)
        with open(self.key, 'w') as f:
            f.write('secret')
        os.chmod(self.key, 0o600)
        self.user = ()
        if os.geteuid() == 0:
            self.user = ('setpriv', f'--reuid={_NOBODY}', f'--regid={_NOBODY}',
                         '--clear-groups', '--')
            process.run('chown', '-R', str(_NOBODY), self.folder, timeout_s=60)

    def path(self, name):
        return os.path.join(self.folder, name)

    def results(self, *tries):
        conf = cfg.ConfigOpts()
        flexmem_conf.register_opts(conf)
        options = {option.name: conf.flexmem[option.name]
                   for option in flexmem_conf.OPTS}
        return json.loads(process.run(
            *self.user, sys.executable, '-I', '-c', _TAKEN_OVER, timeout_s=60,
            env={'TMPDIR': self.path('tmp')}, stdin=json.dumps({
                'task': 'take over', 'arguments': {'tries': tries},
                'options': options | {'store_path': self.store}})))['result']

    def test_its_own_work(self):
        path = os.path.join(self.store, 'file')
        self.assertEqual(
            [None, 'from the worker', None, '0 a\n', 'erofs', 'ext4'],
            self.results(
                ('append', path), ('read', path),
                ('append', self.path('tmp/file')), ('run', 'echo', 'a'),
                ('load', 'erofs'), ('load', 'ext4')))

    def test_no_other_files(self):
        if sandbox.problem():
            self.skipTest(sandbox.problem())
        authorized = self.path('home/.ssh/authorized_keys')
        with open(authorized, 'w') as f:
            os.chmod(authorized, 0o666)
            f.write('mine')
        refused = 'PermissionError'
        self.assertEqual([refused] * 6, self.results(
            ('read', self.key), ('append', authorized),
            ('append', self.path('home/.ssh/new')),
            ('append', self.path('new')), ('append', '/var/tmp/new'),
            ('read', f'/proc/{os.getpid()}/environ')))
        with open(authorized) as f:
            self.assertEqual('mine', f.read())
        shell = self.results(
            ('run', 'sh', '-c', f'cat {self.key} || echo x >> {authorized}'))
        self.assertIn('ermission denied', shell[0])

    def test_no_sudo(self):
        status, sudo = self.results(
            ('read', '/proc/self/status'),
            ('run', 'sudo', '-n', 'id'))
        self.assertIn('NoNewPrivs:\t1', status)
        if not process.available('sudo'):
            self.skipTest('sudo is not installed; no_new_privs is set')
        self.assertNotIn('uid=0', sudo)
        self.assertIn('no new privileges', sudo)
