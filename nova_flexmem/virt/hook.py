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

"""How nova-compute comes to know the FlexMem driver.

Nova looks for ``compute_driver`` inside its own package ``nova.virt`` and
nowhere else. oslo.config opens the sources that ``config_source`` names before
Nova imports its driver; opening ours gives no options, it only adds a folder
to the path of the package, in which ``nova.virt.flexmem`` is found. No file of
Nova's is touched, and without the lines in nova.conf nothing happens.
"""

import importlib
import os
import sys

from oslo_config import sources

#: What nova.virt.flexmem is found in.
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'nova_virt')


class FlexMemHook(sources.ConfigurationSourceDriver):
    """The driver ``flexmem`` of oslo.config's configuration sources."""

    def list_options_for_discovery(self):
        return []

    def open_source_from_opt_group(self, conf, group_name):
        # other programs than Nova's may read nova.conf, with no Nova at hand
        if 'nova' in sys.modules:
            extend_nova_virt()
        return _NoOptions()


class _NoOptions(sources.ConfigurationSource):

    def get(self, group_name, option_name, opt):
        return sources._NoValue, None


def extend_nova_virt():
    """Let Python find nova.virt.flexmem."""
    package = importlib.import_module('nova.virt')
    if FOLDER not in package.__path__:
        package.__path__.append(FOLDER)
