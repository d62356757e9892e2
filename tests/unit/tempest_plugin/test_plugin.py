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

import unittest

from oslo_config import cfg
from tempest import config
from tempest.test_discover import plugins
import testtools

from nova_flexmem.tempest_plugin import plugin


class PluginTest(testtools.TestCase):

    def test_tempest_finds_it(self):
        manager = plugins.TempestTestPluginManager()
        self.assertEqual(
            plugin.FlexMemTempestPlugin().load_tests(),
            manager.get_plugin_load_tests_tuple()['nova-flexmem'])

    def test_its_tests_can_be_loaded(self):
        folder, top = plugin.FlexMemTempestPlugin().load_tests()
        loader = unittest.TestLoader()
        tests = list(testtools.iterate_tests(
            loader.discover(folder, top_level_dir=top)))
        self.assertEqual([], loader.errors)
        names = [test.id().rpartition('.')[2].partition('[')[0]
                 for test in tests]
        self.assertEqual(
            ['test_boot', 'test_live_migration', 'test_resize',
             'test_snapshot', 'test_two_servers_map_one_base',
             'test_writes_persist_over_a_hard_reboot'], sorted(names))

    def test_options(self):
        conf = cfg.ConfigOpts()
        plugin.FlexMemTempestPlugin().register_opts(conf)
        self.assertIsNone(conf.flexmem.flavor_ref)
        # what "tempest verify-config" and the sample configuration list
        self.assertIn('flexmem', dict(config.list_opts()))
