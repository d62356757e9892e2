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

"""A Glance that keeps images in Ceph, as its rbd store does."""

import os

from nova import exception as nova_exception

from tests.ceph import cluster as ceph_cluster
from tests.lifecycle import services

#: The snapshot that Glance makes of each image, and shows.
_SNAPSHOT = 'snap'


class CephGlance(services.Glance):
    """Keeps raw images in the pool for images.

    :cvar cluster: the Cluster; set before setUp()
    :cvar shows_locations: whether Nova sees where images are
    """

    cluster: ceph_cluster.Cluster
    shows_locations = True

    def add(self, path, disk_format, image_id=None, **properties):
        image_id = super().add(path, disk_format, image_id, **properties)
        if disk_format == 'raw':
            self._store(image_id, path)
        return image_id

    def _store(self, image_id, path):
        name = self._name(image_id)
        self.cluster.rbd('import', path, name)
        self.cluster.rbd('snap', 'create', f'{name}@{_SNAPSHOT}')
        self.cluster.rbd('snap', 'protect', f'{name}@{_SNAPSHOT}')
        self.images[image_id]['locations'] = [{'metadata': {}, 'url': (
            f'rbd://{self.cluster.fsid}/{ceph_cluster.IMAGES_POOL}/{image_id}'
            f'/{_SNAPSHOT}')}]

    @staticmethod
    def _name(image_id):
        return f'{ceph_cluster.IMAGES_POOL}/{image_id}'

    def show(self, context, image_id, include_locations=False,
             show_deleted=True):
        image = super().show(context, image_id, include_locations,
                             show_deleted)
        locations = image.pop('locations', [])
        if include_locations:
            image['locations'] = locations if self.shows_locations else []
        return image

    def update(self, context, image_id, metadata, data=None,
               purge_props=False):
        metadata = dict(metadata)
        location = metadata.pop('location', None)
        if location:
            size = self.cluster.size(self._name(image_id))
            metadata |= {'status': 'active', 'size': size,
                         'locations': [{'url': location, 'metadata': {}}]}
            self.files[image_id] = None
        image = super().update(context, image_id, metadata, data, purge_props)
        if data is not None and image.get('disk_format') == 'raw':
            self._store(image_id, self.files[image_id])
        return image

    def download(self, context, image_id, data=None, dst_path=None,
                 trusted_certs=None):
        if self.files[image_id] is None:
            self.show(context, image_id)
            if os.path.exists(dst_path):
                os.unlink(dst_path)
            self.cluster.rbd('export', f'{self._name(image_id)}@{_SNAPSHOT}',
                             dst_path)
        else:
            super().download(context, image_id, data, dst_path, trusted_certs)

    def delete(self, context, image_id):
        image = self.images.get(image_id)
        if image and image.get('locations'):
            name = self._name(image_id)
            if self.cluster.rbd('children', f'{name}@{_SNAPSHOT}').strip():
                raise nova_exception.ImageDeleteConflict(
                    reason=f'image {image_id} has clones')
            self.cluster.rbd('snap', 'unprotect', f'{name}@{_SNAPSHOT}')
            self.cluster.rbd('snap', 'purge', name)
            self.cluster.rbd('rm', name)
        super().delete(context, image_id)
