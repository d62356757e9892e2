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
import sys
from unittest import mock

import fixtures
from oslo_config import cfg
from oslo_privsep import priv_context
from oslo_upgradecheck import upgradecheck
import testtools

from nova_flexmem import accel
from nova_flexmem.cmd import checks
from nova_flexmem.cmd import status
from nova_flexmem import exception
from nova_flexmem.host import apparmor
from nova_flexmem.host import hugepages
from nova_flexmem.host import ksm_switch
from nova_flexmem.host import preflight
from nova_flexmem.host import privileged
from nova_flexmem import sandbox
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore
from tests.unit.image import samples

_A = 'a' * 32
_B = 'b' * 32

#: In place of a finding: the command is ended meanwhile.
_ENDED = 'ended'

LINES = """\
[DEFAULT]
config_source = flexmem
compute_driver = flexmem.FlexMemDriver
[flexmem]
driver = flexmem
"""


class ChecksTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(self.folder, 'store')
        self.patch(accel, 'kvm_forbidden', lambda: False)

    def config_file(self, text):
        path = os.path.join(self.folder, 'nova.conf')
        with open(path, 'w') as f:
            f.write(f'{text}\n[flexmem]\nstore_path = {self.path}\n')
        return path

    def checks(self, text=LINES):
        conf = status.new_conf()
        conf(['--config-file', self.config_file(text)], project='nova')
        return checks.Checks(conf)

    def assert_success(self, result):
        self.assertEqual(upgradecheck.Code.SUCCESS, result.code,
                         result.details)

    def assert_warning(self, words, result):
        self.assertEqual(upgradecheck.Code.WARNING, result.code,
                         result.details)
        self.assertIn(words, result.details)

    def assert_failure(self, words, result):
        self.assertEqual(upgradecheck.Code.FAILURE, result.code,
                         result.details)
        self.assertIn(words, result.details)


class NovaTest(ChecksTest):

    def test_the_nova_that_is_here(self):
        result = self.checks()._check_nova()
        self.assert_success(result)
        self.assertRegex(result.details, r'^Nova 34\.')

    def test_another_version(self):
        self.patch(checks, '_KNOWN_NOVA', ('1', '2'))
        self.assert_warning('known to work: 1, 2',
                            self.checks()._check_nova())

    def test_a_method_that_went(self):
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.driver.LibvirtDriver'
            '._create_and_inject_local_root', fixtures.MonkeyPatch.delete))
        self.assert_failure('no _create_and_inject_local_root()',
                            self.checks()._check_nova())

    def test_no_nova(self):
        hidden = dict.fromkeys(
            ('nova', 'nova.conf.compute', 'nova.conf.libvirt'))
        with mock.patch.dict(sys.modules, hidden):
            checks = self.checks()
            self.assert_failure('cannot be imported', checks._check_nova())
            self.assert_failure('not checked', checks._check_configuration())
            self.assert_success(checks._check_base_store())


class ConfigurationTest(ChecksTest):

    def check(self, text):
        return self.checks(text)._check_configuration()

    def test_switched_on(self):
        self.assert_success(self.check(LINES))
        for text in ('images_type = raw', 'images_type = qcow2',
                     'virt_type = qemu', 'inject_partition = -2'):
            self.assert_success(self.check(f'{LINES}[libvirt]\n{text}'))

    def test_switched_off(self):
        self.assert_warning('does not use FlexMem', self.check(''))
        self.assert_warning('does not use FlexMem', self.check(
            LINES.replace('flexmem.FlexMemDriver', 'libvirt.LibvirtDriver')))

    def test_a_driver_that_is_not_found(self):
        """nova-compute would not start."""
        for line in ('config_source = flexmem', 'driver = flexmem'):
            self.assert_failure('config_source = flexmem', self.check(
                LINES.replace(f'\n{line}\n', '\n')))

    def test_a_source_of_another_name(self):
        text = LINES.replace('config_source = flexmem',
                             'config_source = elsewhere')
        self.assert_success(self.check(
            text.replace('[flexmem]', '[elsewhere]')))

    def test_disks_that_are_not_files(self):
        for images_type in ('lvm', 'ploop'):
            self.assert_failure('qcow2', self.check(
                f'{LINES}[libvirt]\nimages_type = {images_type}'))

    def test_disks_in_ceph(self):
        text = f'{LINES}[libvirt]\nimages_type = rbd\n'
        self.assert_warning('ensure_libvirt_rbd_instance_dir_cleanup',
                            self.check(text))
        self.assert_success(self.check(
            f'{text}[workarounds]\n'
            'ensure_libvirt_rbd_instance_dir_cleanup = true'))

    def test_another_hypervisor(self):
        self.assert_failure('virt_type', self.check(
            f'{LINES}[libvirt]\nvirt_type = lxc'))

    def test_file_injection(self):
        self.assert_warning('inject_partition', self.check(
            f'{LINES}[libvirt]\ninject_partition = -1'))

    def test_no_balloon(self):
        text = f'{LINES}%s[libvirt]\nmem_stats_period_seconds = 0'
        self.assert_warning('balloon', self.check(text % ''))
        self.assert_success(self.check(
            text % 'free_page_reporting = false\n'))

    def test_the_worst_counts_and_all_is_said(self):
        result = self.check('[libvirt]\nimages_type = lvm')
        self.assert_failure('images_type', result)
        self.assertIn('does not use FlexMem', result.details)


class HostTest(ChecksTest):

    def check(self, *findings):
        self.patch(preflight, 'check', self._preflight)
        self._findings = findings
        return self.checks()._check_host()

    def _preflight(self, conf, virt_type, storage):
        self.storage = storage
        self.assertEqual('kvm', virt_type)
        basestore.Store(conf.flexmem.store_path)
        if self._findings == (_ENDED,):
            raise SystemExit
        return self._findings

    def test_fit(self):
        result = self.check(preflight.Finding('one', True, 'seen'),
                            preflight.Finding('two', True, 'seen too'))
        self.assert_success(result)
        self.assertEqual('seen; seen too', result.details)
        self.assertIsNone(self.storage)

    def test_unfit(self):
        result = self.check(preflight.Finding('one', True, 'seen'),
                            preflight.Finding('two', False, 'get another'))
        self.assert_failure('get another', result)
        self.assertNotIn('seen', result.details)

    def test_without_kvm(self):
        self.patch(accel, 'kvm_forbidden', lambda: True)
        self.assert_warning('may not open /dev/kvm', self.check(
            preflight.Finding('one', True, 'seen')))

    def test_root_leaves_no_store_behind(self):
        """nova-compute could not write to it."""
        if os.geteuid() != 0:
            self.skipTest('not root')
        self.check(preflight.Finding('one', True, 'seen'))
        self.assertFalse(os.path.exists(self.path))
        self.assertRaises(SystemExit, self.check, _ENDED)
        self.assertFalse(os.path.exists(self.path))
        basestore.Store(self.path)
        self.check(preflight.Finding('one', True, 'seen'))
        self.assertTrue(os.path.exists(self.path))

    def test_root_keeps_out_of_others_stores(self):
        if os.geteuid() != 0:
            self.skipTest('not root')
        os.mkdir(self.path)
        os.chown(self.path, 65534, 65534)
        self.assert_warning('run this as the user', self.check())
        self.assertEqual([], os.listdir(self.path))


class HugePagesTest(ChecksTest):

    def check(self, missing, text=LINES):
        self.patch(hugepages, 'max_filled_pages', lambda: missing)
        return self.checks(text)._check_huge_pages()

    def test_nothing_is_filled_in(self):
        self.assert_success(self.check(0))

    def test_filled_in(self):
        self.assert_warning('max_ptes_none', self.check(511))

    def test_nothing_is_handed_back_in_pieces(self):
        for line in ('free_page_reporting = false',
                     'free_page_reporting_order = 9'):
            self.assert_success(self.check(511, f'{LINES}{line}\n'))


class AppArmorTest(ChecksTest):
    """Without AppArmor; see tests.unit.host.test_apparmor for that."""

    def check(self, confines=True, instances=None, rescue=None):
        def give(result):
            def check(_arg):
                if isinstance(result, Exception):
                    raise result
                return result
            return check

        self.patch(apparmor, 'confines', give(confines))
        self.patch(apparmor, 'check_instances', give(instances))
        self.patch(apparmor, 'check_rescue', give(rescue))
        return self.checks()._check_apparmor()

    def test_not_confined(self):
        unfit = exception.HostUnfit(reason='no rule')
        self.assert_success(self.check(False, unfit, unfit))

    def test_confined_with_rules(self):
        result = self.check()
        self.assert_success(result)
        self.assertIn('lets QEMU map bases', result.details)

    def test_confined_without_rules(self):
        unfit = exception.HostUnfit(reason='no rule for it')
        self.assert_failure('no rule for it', self.check(instances=unfit))
        self.assert_warning('no rule for it', self.check(rescue=unfit))

    def test_it_could_not_be_checked(self):
        unfit = exception.HostUnfit(reason='libvirt does not say')
        self.assert_warning('not checked: libvirt does not say',
                            self.check(confines=unfit))
        failed = exception.ProgramFailed(program='apparmor_parser',
                                         reason='no such file')
        self.assert_warning('not checked: apparmor_parser',
                            self.check(instances=failed))

    def test_without_nova(self):
        with mock.patch.dict(sys.modules, {'nova.conf.compute': None,
                                           'nova.conf.libvirt': None}):
            self.assert_success(self.check(False))


class SandboxTest(ChecksTest):

    def test_landlock(self):
        self.patch(sandbox, 'abi', lambda: sandbox.MINIMUM_ABI)
        self.assert_success(self.checks()._check_sandbox())

    def test_none(self):
        for abi in (0, 1):
            self.patch(sandbox, 'abi', lambda abi=abi: abi)
            self.assert_warning('no Landlock; boot Linux 5.19',
                                self.checks()._check_sandbox())


class KsmTest(ChecksTest):
    """How the helper of root is tried; that it works is functional's."""

    def setUp(self):
        super().setUp()
        self.addCleanup(cfg.CONF.reset)
        self.addCleanup(priv_context.init, priv_context._HELPER_COMMAND_PREFIX)
        self.patch(ksm_switch.Switch, 'check_off', lambda _switch: None)
        self.commands = []
        self.patch(priv_context.daemon, 'RootwrapClientChannel', self._start)

    def _start(self, context):
        self.commands.append(' '.join(context.helper_command('/s'))
                             .partition(' --privsep_context')[0])
        raise OSError('no sudo here')

    def check(self, text=''):
        return self.checks(f'{LINES}{text}')._check_ksm()

    def test_off(self):
        self.assert_success(self.check('share_scope = project'))
        self.assertEqual([], self.commands)

    def test_started_as_nova_compute_does(self):
        path = os.path.join(self.folder, 'nova.conf')
        self.assert_warning('no sudo here', self.check('ksm = after_boot'))
        self.check('ksm = after_boot\n[workarounds]\ndisable_rootwrap = true')
        self.check('ksm = after_boot\n[nova_flexmem_privileged]\n'
                   'helper_command = doas privsep-helper')
        self.assertEqual(
            ['sudo nova-rootwrap /etc/nova/rootwrap.conf privsep-helper'
             f' --config-file {path}',
             f'sudo privsep-helper --config-file {path}',
             'doas privsep-helper'], self.commands)

    def test_it_works(self):
        self.patch(privileged.Switch, 'off', lambda _switch: None)
        self.assert_success(self.check('ksm = after_boot'))

    def test_projects_that_are_to_share_nothing(self):
        self.patch(privileged.Switch, 'off', lambda _switch: None)
        self.assert_warning('share_scope = project', self.check(
            'ksm = after_boot\nshare_scope = project'))

    def test_ksm_is_on_or_not_there(self):
        def refuse(_switch):
            raise exception.KsmUnusable(reason='it is scanning already')

        self.patch(ksm_switch.Switch, 'check_off', refuse)
        self.assert_warning('scanning already',
                            self.check('ksm = after_boot'))
        self.assertEqual([], self.commands)


class BaseStoreTest(ChecksTest):

    def check(self):
        return self.checks()._check_base_store()

    def test_none_yet(self):
        self.assert_success(self.check())
        self.assertFalse(os.path.exists(self.path))

    def test_bases(self):
        store = basestore.Store(self.path)
        for key in (_A, _B):
            samples.publish(store, key)
        result = self.check()
        self.assert_success(result)
        self.assertIn('2 bases', result.details)

    def test_damaged(self):
        store = basestore.Store(self.path)
        for key in (_A, _B):
            samples.publish(store, key)
        samples.truncate(store, _A, basefiles.MANIFEST, 10)
        samples.truncate(store, _B, basefiles.ROOT_PMEM, 10)
        result = self.check()
        self.assert_failure(f'base {_A} again', result)
        self.assertIn(f'{_B}/root.pmem: 10 bytes', result.details)

    def test_of_an_older_format(self):
        samples.publish(basestore.Store(self.path), _A, format=1)
        self.assert_success(self.check())

    def test_of_a_newer_format(self):
        samples.publish(basestore.Store(self.path), _A,
                        format=basefiles.FORMAT + 1)
        self.assert_failure(f'format {basefiles.FORMAT + 1}', self.check())

    def test_store_of_another(self):
        if os.geteuid() != 0:
            self.skipTest('not root')
        os.mkdir(self.path)
        os.chown(self.path, 65534, 65534)
        self.assert_success(self.check())
        self.assertEqual([], os.listdir(self.path))

    def test_store_that_is_a_file(self):
        open(self.path, 'w').close()
        self.assert_failure(self.path, self.check())
