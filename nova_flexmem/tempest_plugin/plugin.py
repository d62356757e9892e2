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

"""What Tempest loads, by the entry point of group tempest.test_plugins."""

import os

from tempest import config
from tempest.test_discover import plugins

from nova_flexmem.tempest_plugin import config as flexmem_config


class FlexMemTempestPlugin(plugins.TempestPlugin):
    """The tests and options of FlexMem."""

    def load_tests(self):
        folder = os.path.dirname(os.path.abspath(__file__))
        return (os.path.join(folder, 'tests'),
                os.path.dirname(os.path.dirname(folder)))

    def register_opts(self, conf):
        config.register_opt_group(conf, flexmem_config.GROUP,
                                  flexmem_config.OPTS)

    def get_opt_lists(self):
        return [(flexmem_config.GROUP.name, flexmem_config.OPTS)]
