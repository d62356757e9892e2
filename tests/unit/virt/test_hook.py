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
import subprocess
import sys

import fixtures
import testtools

CONFIG = """
[DEFAULT]
config_source = flexmem
compute_driver = flexmem.FlexMemDriver
[flexmem]
driver = flexmem
store_path = /a/store
"""

#: What nova-compute does until it has its driver's class.
COMPUTE = """
import nova.cmd.compute
from nova import config
from oslo_utils import importutils
config.parse_args(['nova-compute', '--config-file', {path!r}])
import nova.conf
driver = importutils.import_class('nova.virt.' + nova.conf.CONF.compute_driver)
print(driver.__module__, driver.__mro__[1].__module__,
      nova.conf.CONF.flexmem.store_path, nova.conf.CONF.flexmem.rootfs)
"""


class HookTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.useFixture(fixtures.TempDir()).path,
                                 'nova.conf')

    def compute(self, config):
        with open(self.path, 'w') as f:
            f.write(config)
        return subprocess.run(
            [sys.executable, '-W', 'ignore', '-c',
             COMPUTE.format(path=self.path)],
            capture_output=True, text=True, check=False,
            env=os.environ | {'OS_NOVA_DISABLE_EVENTLET_PATCHING': '1'})

    def test_three_lines_give_nova_the_driver(self):
        done = self.compute(CONFIG)
        self.assertEqual(
            'nova_flexmem.virt.driver nova.virt.libvirt.driver /a/store'
            ' auto\n', done.stdout, done.stderr)

    def test_without_the_source_the_package_is_inert(self):
        done = self.compute(CONFIG.replace('config_source = flexmem', ''))
        self.assertNotEqual(0, done.returncode)
        self.assertIn("No module named 'nova.virt.flexmem'", done.stderr)

    def test_programs_without_nova_can_read_nova_conf(self):
        with open(self.path, 'w') as f:
            f.write(CONFIG)
        done = subprocess.run(
            [sys.executable, '-c', f"""
import sys
from oslo_config import cfg
conf = cfg.ConfigOpts()
conf(['--config-file', {self.path!r}])
print('nova' in sys.modules)
"""], capture_output=True, text=True, check=False)
        self.assertEqual('False\n', done.stdout, done.stderr)
