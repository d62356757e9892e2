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

"""Options of the credentials for Glance, group [flexmem_glance] of nova.conf.

keystoneauth is imported where it is needed: not all commands need it.
"""

import copy
import importlib

#: The section; [flexmem_glance] auth_section = placement takes another's.
GROUP = 'flexmem_glance'

#: Seconds that Glance may take to begin an answer, also to the last bytes of
#: an upload, which some of its backends store only then.
_TIMEOUT_S = 120


def _loading():
    return importlib.import_module('keystoneauth1.loading')


def register_opts(conf):
    """Register the options of the section with a ConfigOpts."""
    loading = _loading()
    loading.register_auth_conf_options(conf, GROUP)
    loading.register_session_conf_options(conf, GROUP)
    loading.register_adapter_conf_options(conf, GROUP)
    conf.set_default('service_type', 'image', group=GROUP)
    # as Nova does
    conf.set_default('valid_interfaces', ['internal', 'public'], group=GROUP)
    conf.set_default('timeout', _TIMEOUT_S, group=GROUP)


def list_opts():
    """Return [(group, options)] for oslo-config-generator."""
    loading = _loading()
    return [(GROUP, copy.deepcopy(
        loading.get_auth_common_conf_options()
        + loading.get_session_conf_options()
        + loading.get_adapter_conf_options(include_deprecated=False)
        + loading.get_auth_plugin_conf_options('password')))]
