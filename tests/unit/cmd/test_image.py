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

import contextlib
import io
import json
import os
import shutil

import fixtures
import testtools

from nova_flexmem.cmd import main
from nova_flexmem.cmd import signals
from nova_flexmem import exception
from nova_flexmem.store import basestore
from tests.unit.image import samples

_A = 'a' * 32
_AB = 'ab' + 'c' * 30
_USER = '5f0b9d6e-8f0e-4b6c-a1f4-3b8a6d3c2e10'


class ImageTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.patch(signals, 'clean_up_on_signals', lambda: None)
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(self.folder, 'store')
        self.store = basestore.Store(self.path)

    def run_command(self, *words, status=0, config=''):
        """Run the command; return what it wrote to its two streams."""
        config_file = os.path.join(self.folder, 'nova.conf')
        with open(config_file, 'w') as f:
            f.write(f'[flexmem]\nstore_path = {self.path}\n{config}\n')
        self.useFixture(fixtures.FakeLogger())
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            returned = main.main([f'--config-file={config_file}', *words])
        self.assertEqual(status, returned, err.getvalue())
        self.assertNotIn('Traceback', err.getvalue())
        return out.getvalue(), err.getvalue()

    def run_json(self, *words, **how):
        return json.loads(self.run_command(*words, '-f', 'json', **how)[0])

    def fail_command(self, *words, **how):
        """Run a command that must fail; return its one line of error."""
        out, err = self.run_command(*words, status=1, **how)
        self.assertEqual('', out)
        self.assertEqual(1, len(err.splitlines()), err)
        return err

    def truncate(self, key, name, size):
        samples.truncate(self.store, key, name, size)


class ListTest(ImageTest):

    def test_no_bases(self):
        self.assertEqual([], self.run_json('image', 'list'))

    def test_bases(self):
        samples.publish(self.store, _A)
        samples.publish(self.store, _AB, distro='fedora 41.0', rootfs='ext4')
        self.store.use(_AB, _USER)
        self.store.set_name('one', _AB)
        self.store.set_name('two', _AB)
        self.assertEqual([
            {'Base': _A, 'System': 'debian 12.0', 'Kernel': '6.1.0-9-amd64',
             'Rootfs': 'erofs', 'Size MiB': 4, 'Users': 0,
             'Built at': '2026-01-02T03:04:05+00:00', 'Names': ''},
            {'Base': _AB, 'System': 'fedora 41.0', 'Kernel': '6.1.0-9-amd64',
             'Rootfs': 'ext4', 'Size MiB': 4, 'Users': 1,
             'Built at': '2026-01-02T03:04:05+00:00', 'Names': 'one two'}],
            self.run_json('image', 'list'))

    def test_a_damaged_base_hides_no_other(self):
        samples.publish(self.store, _A)
        samples.publish(self.store, _AB)
        self.truncate(_A, 'manifest.json', 10)
        rows = self.run_json('image', 'list')
        self.assertEqual([_A, _AB], [row['Base'] for row in rows])
        self.assertIn('damaged', rows[0]['System'])

    def test_leftovers_of_killed_builds_go(self):
        os.mkdir(os.path.join(self.store.folder('builds'), f'{_A}.12345678'))
        self.run_command('image', 'list')
        self.assertEqual([], os.listdir(self.store.folder('builds')))

    def test_store_given_on_the_command_line(self):
        other = os.path.join(self.folder, 'other')
        samples.publish(basestore.Store(other), _A)
        [row] = self.run_json('--store', other, 'image', 'list')
        self.assertEqual(_A, row['Base'])

    def test_there_is_no_store(self):
        """None is made then, also not in a folder that is something else."""
        none = os.path.join(self.folder, 'none')
        other = self.useFixture(fixtures.TempDir()).path
        for path in (none, other):
            for words in (('list',), ('show', _A), ('verify', '--all'),
                          ('prune',), ('remove', _A)):
                said = self.fail_command('--store', path, 'image', *words)
                self.assertIn(f'{path}: there is no base store', said)
        self.assertFalse(os.path.exists(none))
        self.assertEqual([], os.listdir(other))

    def test_store_that_is_a_file(self):
        path = os.path.join(self.folder, 'file')
        open(path, 'w').close()
        self.assertIn(path, self.fail_command('--store', path, 'image',
                                              'list'))


class ShowTest(ImageTest):

    def test_facts(self):
        path = samples.publish(self.store, _A, scope='a project')
        self.store.use(_A, _USER)
        self.store.set_name('one', _A)
        shown = self.run_json('image', 'show', 'aa')
        for name, value in {
                'base': _A, 'names': ['one'], 'scope': 'a project',
                'path': path, 'system': 'debian 12.0',
                'kernel': '6.1.0-9-amd64', 'kernel_args': 'console=ttyS0',
                'rootfs': 'erofs', 'devices': ['nvdimm'],
                'guest_page_structs_mib': 0.1,
                'image_virtual_size_mib': 64, 'users': [_USER],
                'unused_s': 0}.items():
            self.assertEqual(value, shown[name], name)
        self.assertIn('4194304 bytes, sha256 ', shown['files']['root.pmem'])

    def test_unknown_and_ambiguous(self):
        samples.publish(self.store, _A)
        samples.publish(self.store, _AB)
        self.assertIn('no such base', self.fail_command('image', 'show', 'b'))
        self.assertIn('several bases', self.fail_command('image', 'show',
                                                         'a'))

    def test_damaged(self):
        samples.publish(self.store, _A)
        self.truncate(_A, 'manifest.json', 10)
        said = self.fail_command('image', 'show', _A)
        self.assertIn('manifest.json', said)
        self.assertIn(f'base {_A} again', said)


class VerifyTest(ImageTest):

    def test_whole(self):
        samples.publish(self.store, _A)
        samples.publish(self.store, _AB)
        self.assertEqual(f'{_A}: verified\n',
                         self.run_command('image', 'verify', 'aa')[0])
        self.assertEqual(f'{_A}: verified\n{_AB}: verified\n',
                         self.run_command('image', 'verify', '--all')[0])

    def test_damaged_ones_are_named_and_the_others_verified(self):
        samples.publish(self.store, _A)
        samples.publish(self.store, _AB)
        self.truncate(_A, 'root.pmem', 100)
        out, err = self.run_command('image', 'verify', '--all', status=1)
        self.assertEqual(f'{_AB}: verified\n', out)
        self.assertIn(f'{_A}/root.pmem: 100 bytes, not 4194304', err)

    def test_instances_do_not_start_from_one_that_was_found_damaged(self):
        samples.publish(self.store, _A)
        before = self.store.ensure_verified(_A).states()
        # a bad disk changes nothing that tells of it
        self.useFixture(fixtures.MonkeyPatch(
            'nova_flexmem.store.basefiles.Base.states', lambda _found: before))
        self.truncate(_A, 'kernel', 1)
        self.assertTrue(self.store.is_verified(_A))
        _out, err = self.run_command('image', 'verify', _A, status=1)
        self.assertIn(f'{_A}/kernel: its content has changed', err)
        self.assertRaises(exception.BaseDamaged, self.store.use, _A, _USER)

    def test_torn_manifest(self):
        samples.publish(self.store, _A)
        self.truncate(_A, 'manifest.json', 10)
        _out, err = self.run_command('image', 'verify', _A, status=1)
        self.assertIn('manifest.json', err)


class StoreOfAnotherTest(ImageTest):
    """Root looks at the store of nova-compute's user."""

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest('not root')
        samples.publish(self.store, _A)
        self.store.ensure_verified(_A)
        os.mkdir(os.path.join(self.store.folder('builds'), f'{_A}.12345678'))
        shutil.rmtree(os.path.join(self.store.folder('uses'), _A))
        for path, _folders, names in os.walk(self.path):
            for name in ('', *names):
                os.chown(os.path.join(path, name), 65534, 65534)
        self.before = self.tree()

    def tree(self):
        return {os.path.join(path, name):
                os.stat(os.path.join(path, name)).st_uid
                for path, folders, names in os.walk(self.path)
                for name in (*folders, *names)}

    def test_nothing_is_written(self):
        [row] = self.run_json('image', 'list')
        self.assertEqual(_A, row['Base'])
        self.assertEqual(0, self.run_json('image', 'show', _A)['unused_s'])
        self.assertEqual(f'{_A}: verified\n',
                         self.run_command('image', 'verify', '--all')[0])
        self.assertEqual(self.before, self.tree())

    def test_a_damaged_base_is_not_used_any_more(self):
        self.truncate(_A, 'kernel', 1)
        self.run_command('image', 'verify', _A, status=1)
        del self.before[os.path.join(self.path, 'verified', _A)]
        self.assertEqual(self.before, self.tree())

    def test_nothing_is_changed(self):
        for words in (('remove', _A), ('prune',), ('build', self.path)):
            self.assertIn('owned by user 65534',
                          self.fail_command('image', *words))
        self.assertEqual(self.before, self.tree())


class RemoveTest(ImageTest):

    def test_removed(self):
        samples.publish(self.store, _A)
        self.assertEqual(f'{_A}: removed\n',
                         self.run_command('image', 'remove', 'a')[0])
        self.assertEqual([], self.store.keys())

    def test_damaged(self):
        samples.publish(self.store, _A)
        self.truncate(_A, 'manifest.json', 10)
        self.run_command('image', 'remove', _A)
        self.assertEqual([], self.store.keys())

    def test_used(self):
        samples.publish(self.store, _A)
        self.store.use(_A, _USER)
        self.assertIn(_USER, self.fail_command('image', 'remove', _A))
        self.assertEqual([_A], self.store.keys())


class PruneTest(ImageTest):

    def setUp(self):
        super().setUp()
        samples.publish(self.store, _A)
        samples.publish(self.store, _AB)
        os.utime(os.path.join(self.store.folder('uses'), _A), (0, 0))

    def test_age_of_the_configuration(self):
        self.assertEqual([{'Removed': _A}], self.run_json('image', 'prune'))
        self.assertEqual([{'Removed': _AB}], self.run_json(
            'image', 'prune', config='remove_unused_base_minimum_age_s = 0'))

    def test_age_given(self):
        self.store.use(_AB, _USER)
        self.assertEqual([{'Removed': _A}], self.run_json(
            'image', 'prune', '--older-than', '0'))
        self.assertEqual([_AB], self.store.keys())


class PublishedTest(ImageTest):

    #: Port 1 refuses connections.
    URL = 'http://127.0.0.1:1'

    def test_configurations_that_do_not_do(self):
        """Each command says in one line what is missing."""
        password = (f'auth_type = password\nauth_url = {self.URL}\n'
                    'username = nova\npassword = secret\n')
        for name in ('list', 'prune'):
            for options, words in (
                    ('', 'auth_section'),
                    ('auth_section = nothing', 'auth_section'),
                    ('auth_type = something', 'something'),
                    ('auth_type = password', 'auth_url'),
                    (password, 'Keystone'),
                    (f'auth_type = admin_token\nendpoint = {self.URL}\n'
                     'token = secret', 'project_name'),
                    ('auth_type = none', 'project_name')):
                said = self.fail_command(
                    'image', name, '--published',
                    config=f'[flexmem_glance]\n{options}')
                self.assertIn(words, said)
                self.assertNotIn('secret', said)


class BuildTest(ImageTest):

    def test_refusals_are_one_line_and_leave_nothing(self):
        text = os.path.join(self.folder, 'text')
        with open(text, 'w') as f:
            f.write('not an image\n')
        for path in (text, self.folder, os.path.join(self.folder, 'none')):
            self.assertIn(path, self.fail_command('image', 'build', path))
        for name in ('bases', 'builds', 'uses'):
            self.assertEqual([], os.listdir(self.store.folder(name)))

    def test_configuration_that_can_not_be(self):
        self.assertIn('max_base_size_gib', self.fail_command(
            'image', 'build', 'x', config='max_base_size_gib = none'))
        path = os.path.join(self.folder, 'none')
        said = self.fail_command('--config-file', path, 'image', 'list')
        self.assertIn('configuration: ', said)
        self.assertIn(path, said)
