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

"""What is in Glance of published bases, and what of it nobody needs.

A base is needed by its image, by servers of the image, and by layered
snapshots that lie on it. Only an administrator sees all of them.
"""

import contextlib
import dataclasses
import datetime

from keystoneauth1 import adapter as ks_adapter
from keystoneauth1 import exceptions as ks_exceptions

from nova_flexmem import exception
from nova_flexmem import glanceconf
from nova_flexmem.publish import credentials
from nova_flexmem.publish import glance as glance_module
from nova_flexmem.publish import publication

#: Property of a layered snapshot: the image that it lies on.
_BASE_IMAGE = 'flexmem_base_image'

#: Age of a claim that has not changed, by Glance's clock and this host's, at
#: which it certainly is a dead builder's.
_OLD = datetime.timedelta(days=1)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A published base, or a claim.

    :ivar key: of the base; '' of a claim
    :ivar image_id: of the image that the base is of
    :ivar status: what Glance says of the data; 'active' is a base
    :ivar host: the host that built it
    """

    id: str
    key: str
    image_id: str
    status: str
    size_bytes: int
    host: str
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, image):
        """Return the Entry of a glance.Image."""
        of = image.properties.get
        return cls(image.id, of(publication.KEY, ''),
                   of(publication.IMAGE, ''), image.status, image.size_bytes,
                   of(publication.HOST, ''), image.created_at,
                   of('updated_at', ''))

    @property
    def is_old_claim(self):
        """Return whether it is the claim of a builder that is long dead."""
        if self.status == glance_module.ACTIVE:
            return False
        try:
            changed = datetime.datetime.fromisoformat(self.updated_at)
        except ValueError:
            return False
        return datetime.datetime.now(datetime.UTC) - changed > _OLD


class Servers:
    """Nova's servers, of all projects.

    :param adapter: a keystoneauth adapter of Nova
    """

    def __init__(self, adapter):
        self._adapter = adapter

    @classmethod
    def from_conf(cls, conf):
        """Return the Servers that an administrator sees.

        :raises: PublishFailed if the credentials in a ConfigOpts are none of
            an administrator
        """
        glance, _project_id = credentials.load(conf)
        with _reporting():
            roles = glance.auth.get_access(glance.session).role_names
            if 'admin' not in roles:
                raise exception.PublishFailed(
                    reason='only an administrator sees the images and servers'
                    ' of all projects, and so which bases they need; give'
                    f' credentials with the role admin in'
                    f' [{glanceconf.GROUP}], for example in a configuration'
                    ' file for this command alone')
        return cls(ks_adapter.Adapter(
            glance.session, auth=glance.auth, service_type='compute',
            region_name=glance.region_name, interface=glance.interface))

    def are_made_from(self, image_id):
        """Return whether there is a server of an image."""
        with _reporting():
            found = self._adapter.get('/servers', params={
                'all_tenants': '1', 'image': image_id, 'limit': '1'})
        return bool(found.json()['servers'])


def entries(glance):
    """Return the Entries of all bases and claims, sorted."""
    return sorted((Entry.of(image) for image in glance.list()
                   if publication.NEED in image.properties),
                  key=lambda entry: (entry.image_id, entry.created_at))


def prune(glance, servers):
    """Remove the bases that nobody needs, and claims of dead builders.

    :param glance: a glance.Glance with an administrator's credentials
    :param servers: the Servers
    :returns: the Entries that were removed
    :raises: PublishFailed
    """
    removed = []
    for entry in entries(glance):
        if entry.status == glance_module.ACTIVE:
            unneeded = not _is_needed(glance, servers, entry.image_id)
        else:
            unneeded = entry.is_old_claim
        if unneeded:
            glance.delete(entry.id)
            removed.append(entry)
    return removed


def _is_needed(glance, servers, image_id):
    if glance.exists(image_id) or servers.are_made_from(image_id):
        return True
    # servers of a snapshot that is gone are not seen: Nova's API shows the
    # image that a server was booted from, and not what that lay on
    return bool(glance.ids_of_all(**{_BASE_IMAGE: image_id}))


@contextlib.contextmanager
def _reporting():
    try:
        yield
    except ks_exceptions.ClientException as e:
        raise exception.PublishFailed(reason=f'Nova: {e}')
