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
from unittest import mock

import fixtures

from nova import test

from nova_flexmem.guest import ignoreshared
from nova_flexmem.virt import capability

_CAPABILITIES = ('<capabilities><host>{}</host></capabilities>')
_MODEL = ('<secmodel><model>{}</model><doi>0</doi>'
          '<baselabel type="kvm">{}</baselabel></secmodel>')
DAC = _MODEL.format('dac', '+64055:+64056')
APPARMOR = _MODEL.format('apparmor', '')


class FakeHost:
    """A libvirt that says which QEMU it has and what confines it."""

    def __init__(self, version=7002022, models=DAC):
        self.version = version
        self.models = models

    def get_version(self):
        return self.version

    def get_connection(self):
        return self

    def getCapabilities(self):
        return _CAPABILITIES.format(self.models)


class CapabilityTest(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.store = os.path.join(self.folder, 'store')
        self.group = mock.Mock(store_path=self.store)
        self.owners = {}
        self.stub_out('nova.privsep.path.chown',
                      lambda path, user, group: self.owners.update(
                          {path: (user, group)}))
        self.script = os.path.join(self.folder, 'flexmem-qmp.in')
        self.answers = os.path.join(self.folder, 'flexmem-qmp.out')

    def arguments(self, **libvirt):
        return capability.Capability(
            FakeHost(**libvirt), self.group).arguments(self.folder)

    def read(self, path):
        with open(path) as f:
            return f.read()

    def test_pipe(self):
        self.assertIn('pipe,', self.arguments()[1])
        self.assertEqual(ignoreshared.SCRIPT, self.read(self.script))
        self.assertEqual({self.script: (64055, 64056)}, self.owners)
        self.assertEqual(0o600, os.stat(self.script).st_mode & 0o777)
        self.assertEqual('/dev/null', os.readlink(self.answers))

    def test_pipe_is_written_anew(self):
        """The guest before, or its QEMU, may have changed it."""
        self.arguments()
        for path in (self.script, self.answers):
            os.unlink(path)
            with open(path, 'w') as f:
                f.write('{"execute": "quit"}')
        self.arguments()
        self.assertEqual(ignoreshared.SCRIPT, self.read(self.script))
        self.assertTrue(os.path.islink(self.answers))

    def test_no_pipe_where_qemu_is_confined(self):
        self.assertEqual([], self.arguments(models=DAC + APPARMOR))
        self.assertEqual([], self.arguments(
            models=DAC + _MODEL.format('selinux', 'system_u')))
        self.assertFalse(os.path.exists(self.script))

    def test_no_pipe_without_knowing_the_user_of_qemu(self):
        self.assertEqual([], self.arguments(models=''))

    def test_no_pipe_if_it_cannot_be_given_to_that_user(self):
        def fail(*_args):
            raise PermissionError(1, 'Operation not permitted')

        self.stub_out('nova.privsep.path.chown', fail)
        self.assertEqual([], self.arguments())
        self.assertIn('Operation not permitted', self.stdlog.logger.output)

    def test_file(self):
        path = os.path.join(self.store, 'qmp', 'ignore-shared')
        self.assertIn(f'input-path={path}', self.arguments(
            version=8001000)[1])
        self.assertEqual(ignoreshared.SCRIPT, self.read(path))
        self.assertEqual(0o444, os.stat(path).st_mode & 0o777)
        before = os.stat(path).st_ino
        self.arguments(version=10000013)
        self.assertEqual(before, os.stat(path).st_ino)

    def test_file_that_was_changed(self):
        path = os.path.join(self.store, 'qmp', 'ignore-shared')
        os.makedirs(os.path.dirname(path))
        with open(path, 'w') as f:
            f.write('{"execute": "quit"}')
        self.arguments(version=8001000)
        self.assertEqual(ignoreshared.SCRIPT, self.read(path))

    def test_file_that_apparmor_may_not_let_qemu_read(self):
        for allowed in (False, True):
            self.stub_out('nova_flexmem.host.apparmor.lets_read',
                          lambda _path, allowed=allowed: allowed)
            self.assertEqual(allowed, bool(self.arguments(
                version=8001000, models=DAC + APPARMOR)))

    def test_property(self):
        self.assertEqual(['-global', 'migration.x-ignore-shared=on'],
                         self.arguments(version=11000000, models=''))
        self.assertEqual([], os.listdir(self.folder))

    def test_the_reason_is_logged_once(self):
        offered = capability.Capability(FakeHost(models=''), self.group)
        for _ in range(2):
            offered.arguments(self.folder)
        self.assertEqual(1, self.stdlog.logger.output.count(
            'libvirt does not say which user runs QEMU'))


class WhyNotTest(test.NoDBTestCase):
    """What a running QEMU is asked."""

    def why_not(self, state=True, backends=(('flexmem-base', True),
                                            ('ram-node0', False))):
        answers = {
            'query-migrate-capabilities': [
                {'capability': 'xbzrle', 'state': False},
                {'capability': 'x-ignore-shared', 'state': state}],
            'query-memdev': [{'id': name, 'share': share}
                             for name, share in backends]}
        self.stub_out(
            'nova_flexmem.virt.capability.libvirtmod_qemu',
            mock.Mock(virDomainQemuMonitorCommand=lambda _domain, command, _:
                      json.dumps({'return': answers[
                          json.loads(command)['execute']]})))
        return capability.why_not(mock.Mock())

    def test_movable(self):
        self.assertIsNone(self.why_not())

    def test_capability_is_off(self):
        self.assertIn('without the capability', self.why_not(state=False))

    def test_other_memory_is_shared(self):
        self.assertIn('shares other memory', self.why_not(
            backends=(('flexmem-base', True), ('ram-node0', True))))

    def test_base_is_not_shared(self):
        self.assertIn('shares other memory', self.why_not(
            backends=(('flexmem-base', False),)))

    def test_an_answer_that_is_none(self):
        self.stub_out(
            'nova_flexmem.virt.capability.libvirtmod_qemu',
            mock.Mock(virDomainQemuMonitorCommand=lambda *_: '{"error": 1}'))
        self.assertIn('does not answer', capability.why_not(mock.Mock()))
