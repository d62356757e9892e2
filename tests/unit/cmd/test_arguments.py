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

import argparse
import json

from oslo_config import cfg
import testtools

from nova_flexmem.cmd import arguments
from nova_flexmem import conf as flexmem_conf
from nova_flexmem.demo import configdrive


def _guest_options(*words, **settings):
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[])
    flexmem_conf.register_opts(conf)
    for name, value in settings.items():
        conf.set_override(name, value, group='flexmem')
    parser = argparse.ArgumentParser()
    arguments.add(parser)
    return arguments.guest_options(parser.parse_args(words), conf)


class ConfigurationTest(testtools.TestCase):
    """Guests get what instances of the host get."""

    def test_defaults(self):
        found = _guest_options()
        self.assertEqual(('', 0), (found.extra_kernel_args,
                                   found.reporting_order))

    def test_settings(self):
        found = _guest_options(extra_kernel_args='quiet',
                               free_page_reporting_order=9,
                               direct_paths=['/srv'])
        self.assertEqual(('quiet', 9, ('/srv',)),
                         (found.extra_kernel_args, found.reporting_order,
                          found.direct_paths))
        found = _guest_options(free_page_reporting=False)
        self.assertIsNone(found.reporting_order)


class UserDataTest(testtools.TestCase):
    """What cloud-init gets, if anything."""

    def user_data(self, *words):
        return _guest_options(*words).user_data

    def test_image_that_is_made(self):
        """It has the control shell in it."""
        self.assertIsNone(self.user_data())
        first, text = self.user_data('--config-drive').split('\n', 1)
        self.assertEqual('#cloud-config', first)
        self.assertNotIn('bootcmd', json.loads(text))

    def test_image_that_is_given(self):
        for words in ((), ('--config-drive',)):
            self.assertEqual(configdrive.control_shell(),
                             self.user_data('--image', 'x', *words))
