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

"""Images of the service project in Glance.

Through glanceclient, which nova-compute has for its own images: it compares
what it downloads with Glance's digests.
"""

import contextlib
import dataclasses
import os
import time

import glanceclient
from glanceclient import exc
from keystoneauth1 import exceptions as ks_exceptions

from nova_flexmem import exception
from nova_flexmem.publish import credentials
from nova_flexmem.store import diskerrors

#: What glanceclient raises where Glance, Keystone or the network fails, or
#: where downloaded bytes are not those that were uploaded.
_FAILURES = (exc.ClientException, exc.BaseException,
             ks_exceptions.ClientException)

#: Seconds before a look at Glance that failed is repeated: a host that waits
#: for the base of another looks for many minutes.
_PAUSES_S = (1, 3)

_GONE = (404, 410)

ACTIVE, QUEUED, SAVING = 'active', 'queued', 'saving'


@dataclasses.dataclass(frozen=True)
class Image:
    """An image of the service project, as Glance has it.

    :ivar status: Glance's
    :ivar size_bytes: of its data; 0 while there are none
    :ivar properties: {name: text}
    """

    id: str
    status: str
    size_bytes: int
    created_at: str
    properties: dict[str, str]


class Glance:
    """The private images of one project, and no others.

    :param client: a glanceclient.v2.client.Client
    :param project_id: of the project
    """

    def __init__(self, client, project_id):
        self._images = client.images
        self.project_id = project_id

    @classmethod
    def from_conf(cls, conf):
        """Return the Glance of the credentials in a ConfigOpts.

        :raises: PublishFailed
        """
        adapter, project_id = credentials.load(conf)
        return cls(glanceclient.Client(
            '2', session=adapter.session, auth=adapter.auth,
            endpoint_override=credentials.endpoint(adapter)), project_id)

    def list(self, **properties):
        """Return the project's own private Images that have properties.

        Others can give their images the same properties, and share them with
        the project. What Glance filters is therefore looked at again.
        """
        for pause_s in (*_PAUSES_S, None):
            try:
                with _reporting():
                    found = [*self._images.list(filters={
                        'owner': self.project_id, 'visibility': 'private',
                        **properties})]
                break
            except exception.PublishFailed:
                if pause_s is None:
                    raise
                time.sleep(pause_s)
        return [_image(each) for each in found
                if each.get('owner') == self.project_id
                and each.get('visibility') == 'private'
                and all(each.get(name) == value
                        for name, value in properties.items())]

    def exists(self, image_id):
        """Return whether the project can see an image, anybody's."""
        try:
            with _reporting():
                self._images.get(image_id)
        except NotThere:
            return False
        return True

    def ids_of_all(self, **properties):
        """Return the ids of images that have properties, of all projects.

        An administrator sees all of them.
        """
        with _reporting():
            return [each['id'] for hidden in ('false', 'true') for each
                    in self._images.list(filters={
                        'visibility': 'all', 'os_hidden': hidden,
                        **properties})]

    def create(self, name, properties):
        """Make an Image without data."""
        with _reporting():
            return _image(self._images.create(
                name=name, visibility='private', disk_format='raw',
                container_format='compressed', **properties))

    def update(self, image_id, properties):
        """Set properties of an image.

        :raises: NotThere
        """
        with _reporting():
            self._images.update(image_id, **properties)

    def upload(self, image_id, path):
        """Give an image its data.

        :raises: NotThere
        """
        with _reporting(), open(path, 'rb') as f:
            self._images.upload(image_id, f, os.path.getsize(path))

    def download(self, image_id, path, max_bytes):
        """Write an image's data to a new file.

        :raises: PublishFailed also if they are more than max_bytes, or not
            those that were uploaded
        """
        with _reporting():
            left = max_bytes
            with open(path, 'xb') as f:
                for chunk in self._images.data(image_id):
                    left -= len(chunk)
                    if left < 0:
                        raise exception.PublishFailed(
                            reason=f'image {image_id} in Glance has more than'
                            f' {max_bytes} bytes')
                    f.write(chunk)

    def delete(self, image_id):
        """Delete an image; it is no error if it is gone."""
        try:
            with _reporting():
                self._images.delete(image_id)
        except exception.PublishFailed:
            # of two that delete it at once, Glance gives one an error of 400
            if self.exists(image_id):
                raise


class NotThere(exception.PublishFailed):
    """Glance has no such image."""


@contextlib.contextmanager
def _reporting():
    """Turn what glanceclient raises into PublishFailed."""
    try:
        yield
    except _FAILURES as e:
        kind = (NotThere if getattr(e, 'code', None) in _GONE
                else exception.PublishFailed)
        raise kind(reason=f'Glance: {e}')
    except OSError as e:
        if e.errno in diskerrors.WAYS_OUT:
            raise
        # a digest that does not match, or a connection that broke
        raise exception.PublishFailed(reason=f'Glance: {e}')


def _image(found):
    return Image(found['id'], found['status'], found.get('size') or 0,
                 found.get('created_at', ''), {
                     name: value for name, value in found.items()
                     if isinstance(value, str)})
