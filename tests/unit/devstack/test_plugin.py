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

"""The devstack plugin, sourced phase by phase against stubs of devstack."""

import os
import pwd
import stat
import subprocess

import fixtures
from oslo_config import cfg
from tempest import config as tempest_config
import testtools

from nova.conf import scheduler as nova_scheduler_conf
from nova.scheduler import weights

from nova_flexmem.cmd import checks
from nova_flexmem.cmd import status
from nova_flexmem.scheduler import weigher
from nova_flexmem.tempest_plugin import config as flexmem_config

_TREE = os.path.abspath(os.path.join(os.path.dirname(__file__),
                                     *[os.pardir] * 3))
_STUBS = os.path.join(os.path.dirname(__file__), 'stubs.sh')

_ALL = ('mysql', 'key', 'g-api', 'placement-api', 'n-api', 'n-cpu', 'n-cond',
        'n-sch', 'q-svc', 'tempest')
_COMPUTE = ('n-cpu', 'placement-client', 'ovn-controller')

#: The phases of stack.sh, in its order.
_STACK = ('pre-install', 'install', 'post-config', 'extra', 'test-config')

_PROGRAM = """#!/bin/bash
echo "$(basename "$0") $*" >> {folder}/calls
exit {status}
"""


class PluginTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.store = os.path.join(self.folder, 'data', 'nova-flexmem')
        os.mkdir(os.path.join(self.folder, 'data'))
        self.program('glance-manage')
        self.program('nova-flexmem-status')

    def path(self, name):
        return os.path.join(self.folder, name)

    def program(self, name, returns=0):
        """Write a program that records its calls."""
        with open(self.path(name), 'w') as f:
            f.write(_PROGRAM.format(folder=self.folder, status=returns))
        os.chmod(self.path(name), 0o755)

    def bash(self, script, services=_ALL, settings=None, before=()):
        """Run a script as devstack runs plugins, after the settings.

        :param before: words to put before the command
        :returns: a subprocess.CompletedProcess
        """
        user = pwd.getpwuid(os.geteuid()).pw_name
        return subprocess.run(
            [*before, 'bash', '-c', f'set -o errexit\nsource {_STUBS}\n'
             f'source {_TREE}/devstack/settings\n{script}'],
            env={'PATH': os.environ['PATH'], 'TOP_DIR': self.folder,
                 'DATA_DIR': self.path('data'), 'STACK_USER': user,
                 'DATABASE_BACKENDS': 'mysql postgresql',
                 'ENABLED_SERVICES': ','.join(services),
                 'NOVA_CONF': self.path('nova.conf'),
                 'NOVA_CPU_CONF': self.path('nova-cpu.conf'),
                 'NOVA_BIN_DIR': self.folder, 'GLANCE_BIN_DIR': self.folder,
                 'GLANCE_CONF_DIR': '/etc/glance',
                 'TEMPEST_CONFIG': self.path('tempest.conf'),
                 'FLEXMEM_APPARMOR_DIR': self.path('apparmor.d')}
            | (settings or {}),
            capture_output=True, text=True, check=False)

    def source(self, *words, **kwargs):
        """Source plugin.sh with a mode and a phase.

        :returns: what it called, a list of lines
        """
        if os.path.exists(self.path('calls')):
            os.unlink(self.path('calls'))
        done = self.bash(
            f'source {_TREE}/devstack/plugin.sh {" ".join(words)}', **kwargs)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual('', done.stderr)
        with open(self.path('calls')) as f:
            called = f.read().splitlines()
        self.assertEqual('define_plugin nova-flexmem', called[0])
        return [line for line in called[1:]
                if not line.startswith('echo_summary')]

    def stack(self, **kwargs):
        return {phase: self.source('stack', phase, **kwargs)
                for phase in _STACK}

    def read(self, path):
        with open(path) as f:
            return f.read()

    def tempest_options(self):
        conf = cfg.ConfigOpts()
        conf.register_opts(tempest_config.ComputeFeaturesGroup,
                           group='compute-feature-enabled')
        conf.register_opts(flexmem_config.OPTS, group='flexmem')
        conf(['--config-file', self.path('tempest.conf')], project='tempest')
        return conf

    # -- stack.sh

    def test_install(self):
        called = self.source('stack', 'install')
        self.assertEqual([f'install_bindep {_TREE}/bindep.txt',
                          f'setup_develop {_TREE} compute'], called)

    def test_the_user_may_open_kvm(self):
        called = self.source('stack', 'install', services=['n-cpu'],
                             settings={'FLEXMEM_TEST_GROUP': 'kvm',
                                       'STACK_USER': 'stack'})
        self.assertIn('add_user_to_group stack kvm', called)

    def test_nova_conf_is_what_the_driver_wants(self):
        self.source('stack', 'post-config')
        conf = status.new_conf()
        conf(['--config-file', self.path('nova.conf')], project='nova')
        result = checks.Checks(conf)._check_configuration()
        self.assertEqual('', result.details or '')
        self.assertEqual(self.store, conf.flexmem.store_path)

    def test_nova_scheduler_finds_the_weigher(self):
        called = self.source('stack', 'post-config', services=['n-sch'])
        self.assertEqual('async_wait configure_neutron_nova', called[0])
        conf = cfg.ConfigOpts()
        conf.register_opts(nova_scheduler_conf.filter_scheduler_opts,
                           group='filter_scheduler')
        conf(['--config-file', self.path('nova.conf')], project='nova')
        classes = weights.HostWeightHandler().get_matching_classes(
            conf.filter_scheduler.weight_classes)
        self.assertIs(weigher.SameBaseWeigher, classes[-1])
        self.assertLess(10, len(classes))
        self.assertEqual([f'setup_develop {_TREE}'], self.source(
            'stack', 'install', services=['n-sch']))

    def test_nova_conf_is_not_written_while_devstack_does(self):
        called = self.source('stack', 'post-config')
        self.assertEqual('async_wait configure_neutron_nova', called[0])

    def test_the_file_of_the_compute_service_is_left_alone(self):
        """devstack overwrites it with nova.conf afterwards."""
        self.stack()
        self.assertFalse(os.path.exists(self.path('nova-cpu.conf')))

    def test_base_store(self):
        self.source('stack', 'post-config')
        found = os.stat(self.store)
        self.assertEqual(0o755, stat.S_IMODE(found.st_mode))
        self.assertEqual(os.geteuid(), found.st_uid)

    def test_base_store_elsewhere(self):
        other = self.path('other')
        self.source('stack', 'post-config',
                    settings={'FLEXMEM_STORE_PATH': other})
        self.assertTrue(os.path.isdir(other))
        self.assertFalse(os.path.exists(self.store))
        conf = status.new_conf()
        conf(['--config-file', self.path('nova.conf')], project='nova')
        self.assertEqual(other, conf.flexmem.store_path)

    def test_apparmor(self):
        os.makedirs(self.path('apparmor.d/abstractions'))
        helper = self.path('apparmor.d/local/usr.lib.libvirt.virt-aa-helper')
        os.mkdir(os.path.dirname(helper))
        with open(helper, 'w') as f:
            f.write('/srv/** r,\n')
        for _again in range(2):
            self.source('stack', 'post-config')
        line = 'include <abstractions/nova-flexmem>\n'
        self.assertEqual(f'/srv/** r,\n{line}', self.read(helper))
        self.assertEqual(line, self.read(self.path(
            'apparmor.d/local/abstractions/libvirt-qemu')))
        rules = self.read(self.path('apparmor.d/abstractions/nova-flexmem'))
        for rule in ('bases/*/{root.pmem,kernel,initramfs} r,', '** wl,'):
            self.assertIn(f' {self.store}/{rule}\n', rules)
        for _again in range(2):
            self.source('clean')
        self.assertEqual('/srv/** r,\n', self.read(helper))
        self.assertEqual([], os.listdir(
            self.path('apparmor.d/abstractions')))

    def test_no_apparmor(self):
        self.stack()
        self.source('clean')
        self.assertFalse(os.path.exists(self.path('apparmor.d')))

    def test_metadefs(self):
        self.assertIn(
            'glance-manage --config-file /etc/glance/glance-api.conf'
            f' db_load_metadefs {_TREE}/etc/metadefs',
            self.source('stack', 'post-config'))

    def test_flavors(self):
        created = [line for line in self.source('stack', 'extra')
                   if ' flavor create ' in line]
        self.assertEqual(
            ['flexmem.small', 'flexmem.medium'],
            [line.partition(' create ')[2].split()[0] for line in created])
        for line in created:
            self.assertIn('--property flexmem:policy=required', line)
            self.assertIn('--property trait:CUSTOM_FLEXMEM=required', line)

    def test_flavors_that_are_there(self):
        self.source('stack', 'extra')
        self.assertEqual([], [line for line in self.source('stack', 'extra')
                              if ' flavor create ' in line])

    def test_the_host_is_checked(self):
        check = (f'nova-flexmem-status --config-file {self.folder}'
                 '/nova-cpu.conf upgrade check')
        for returns in (0, 1):  # success, warnings
            self.program('nova-flexmem-status', returns)
            self.assertIn(check, self.source('stack', 'extra'))

    def test_a_host_that_is_not_fit(self):
        for returns in (2, 255):
            self.program('nova-flexmem-status', returns)
            done = self.bash(f'source {_TREE}/devstack/plugin.sh stack extra')
            self.assertEqual((1, 'die: FlexMem instances cannot run on this'
                                 ' host\n'),
                             (done.returncode, done.stderr))

    def test_tempest(self):
        self.stack()
        options = self.tempest_options()
        self.assertTrue(options['compute-feature-enabled'].suspend)
        self.assertTrue(options['compute-feature-enabled'].live_migration)
        for flavor in (options.flexmem.flavor_ref,
                       options.flexmem.flavor_ref_alt):
            self.assertTrue(os.path.exists(self.path(f'flavor-{flavor}')))
        self.assertEqual('sudo', options.flexmem.host_command)

    def test_tempest_where_no_instance_runs(self):
        self.source('stack', 'test-config', services=('n-api', 'tempest'))
        self.assertIsNone(self.tempest_options().flexmem.host_command)

    # -- hosts that do a part

    def test_compute_node(self):
        called = self.stack(services=_COMPUTE)
        self.assertEqual([f'install_bindep {_TREE}/bindep.txt',
                          f'setup_develop {_TREE} compute'], called['install'])
        self.assertIn(f'iniset {self.folder}/nova.conf flexmem driver flexmem',
                      called['post-config'])
        self.assertEqual(['nova-flexmem-status'],
                         [line.split()[0] for line in called['extra']])
        everything = '\n'.join(sum(called.values(), []))
        for word in ('glance-manage', 'openstack', 'tempest'):
            self.assertNotIn(word, everything)

    def test_controller(self):
        services = [name for name in _ALL if name != 'n-cpu']
        called = self.stack(services=services)
        self.assertEqual([f'setup_develop {_TREE}'], called['install'])
        self.assertNotIn('flexmem.FlexMemDriver',
                         self.read(self.path('nova.conf')))
        self.assertFalse(os.path.exists(self.store))
        self.assertEqual(['async_wait', 'iniset', 'glance-manage'],
                         [line.split()[0] for line in called['post-config']])
        self.assertTrue(os.path.exists(self.path('flavor-flexmem.small')))
        self.assertNotIn('nova-flexmem-status', '\n'.join(called['extra']))

    def test_neither(self):
        called = self.stack(services=('mysql', 'key', 'rabbit'))
        self.assertEqual(dict.fromkeys(_STACK, []), called)

    # -- unstack.sh and clean.sh

    def test_unstack(self):
        """Bases are kept, for the next stack.sh."""
        self.stack()
        for _again in range(2):
            self.assertEqual([], self.source('unstack'))
        self.assertTrue(os.path.isdir(self.store))

    def test_clean(self):
        self.stack()
        with open(os.path.join(self.store, 'file'), 'w') as f:
            f.write('of a base')
        for _again in range(2):
            self.source('clean')
            self.assertFalse(os.path.exists(self.store))
        self.assertEqual([], os.listdir(self.path('data')))

    def test_clean_of_a_host_that_was_never_stacked(self):
        self.source('clean')

    # -- how it behaves in devstack's shell

    def test_xtrace_is_restored(self):
        for flag in ('-o', '+o'):
            for words in ('stack install', 'stack post-config', 'unstack',
                          'clean'):
                done = self.bash(
                    f'set {flag} xtrace\n'
                    f'source {_TREE}/devstack/plugin.sh {words} > /dev/null\n'
                    'set +o | grep xtrace')
                self.assertEqual((0, f'set {flag} xtrace\n'),
                                 (done.returncode, done.stdout), done.stderr)

    def test_the_plugin_may_have_another_name(self):
        """The name that enable_plugin gives decides on the folder."""
        link = self.path('other-name')
        os.symlink(_TREE, link)
        done = self.bash(f'source {link}/devstack/settings\n'
                         'cd /\necho $FLEXMEM_DIR')
        self.assertEqual(f'{link}\n', done.stdout)

    def test_kernels_that_are_of_root_alone(self):
        """Ubuntu's; nova-compute has to read one, for libguestfs."""
        kernel = self.path('vmlinuz-1')
        open(kernel, 'w').close()
        os.chmod(kernel, 0)
        done = self.bash(
            f'source {_TREE}/devstack/plugin.sh unstack\n'
            f'flexmem_open_kernels {kernel} {self.folder}/no-vmlinuz-*',
            # without what lets root read any file
            before=('setpriv', '--bounding-set=-dac_override,-dac_read_search')
            if os.geteuid() == 0 else ())
        self.assertEqual((0, ''), (done.returncode, done.stderr))
        self.assertEqual(0o644, stat.S_IMODE(os.stat(kernel).st_mode))
