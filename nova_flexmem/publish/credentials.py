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

"""As whom this host talks to Glance: a keystoneauth section of nova.conf."""

import contextlib
import re

from keystoneauth1 import exceptions as ks_exceptions
from keystoneauth1 import loading

from nova_flexmem import exception
from nova_flexmem import glanceconf

_GROUP = glanceconf.GROUP

#: Glance's client appends the version itself.
_VERSION = re.compile(r'/v\d+(\.\d+)?/?$')


def load(conf):
    """Return (a keystoneauth adapter of Glance, the id of the project).

    :raises: PublishFailed
    """
    with _of_keystone():
        auth = loading.load_auth_from_conf_options(conf, _GROUP)
        if auth is None:
            raise exception.PublishFailed(
                reason=f'nova.conf has no credentials for it; set [{_GROUP}]'
                ' auth_type and the options of that, or auth_section to a'
                ' section that has them')
        session = loading.load_session_from_conf_options(conf, _GROUP,
                                                         auth=auth)
        adapter = loading.load_adapter_from_conf_options(
            conf, _GROUP, session=session, auth=auth)
        project_id = adapter.get_project_id()
    if not project_id:
        raise exception.PublishFailed(
            reason=f'the credentials in [{_GROUP}] are of no project; set'
            ' project_name and project_domain_id')
    return adapter, project_id


def endpoint(adapter):
    """Return the address of Glance, without the version."""
    with _of_keystone():
        found = adapter.get_endpoint()
    if not found:
        raise exception.PublishFailed(
            reason=f'Keystone knows no address of Glance; check [{_GROUP}]'
            ' region_name and valid_interfaces')
    return _VERSION.sub('', found)


@contextlib.contextmanager
def _of_keystone():
    try:
        yield
    except ks_exceptions.ClientException as e:
        raise exception.PublishFailed(reason=f'Keystone: {e}')
