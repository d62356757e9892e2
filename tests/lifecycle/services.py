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


"""What stands in for the services beside Nova, with real files behind them.

Nova's own fixtures of Glance, Neutron and Cinder know no bytes and no devices.
These keep images in files, and hand out interfaces and volumes that a real
guest can use.
"""

import copy
import os
import shutil

from oslo_utils import uuidutils

from nova.tests import fixtures as nova_fixtures

from nova_flexmem import process

_TIMEOUT_S = 300
_VOLUME_BYTES = 16 << 20


class Glance(nova_fixtures.GlanceFixture):
    """Keeps the data of images in files of a folder, those of snapshots too.

    :cvar folder: where; set before setUp()
    """

    folder: str

    def __init__(self, test):
        super().__init__(test)
        self.files = {}

    def add(self, path, disk_format, image_id=None, **properties):
        """Register a file as an image; returns the image's id."""
        image_id = image_id or uuidutils.generate_uuid()
        self.files[image_id] = path
        self.create(None, {
            'id': image_id, 'name': os.path.basename(path),
            'size': os.path.getsize(path), 'status': 'active',
            'disk_format': disk_format, 'container_format': 'bare',
            'min_ram': 0, 'min_disk': 0, 'deleted': False, 'deleted_at': None,
            'is_public': True, 'visibility': 'public', 'protected': False,
            'checksum': None, 'owner': None, 'tags': [],
            'properties': properties})
        return image_id

    def download(self, context, image_id, data=None, dst_path=None,
                 trusted_certs=None):
        self.show(context, image_id)
        process.run('cp', '--sparse=always', self.files[image_id], dst_path,
                    timeout_s=_TIMEOUT_S)

    def update(self, context, image_id, metadata, data=None,
               purge_props=False):
        metadata = copy.deepcopy(metadata)
        # as Nova's own client of Glance does
        for name in ('kernel_id', 'ramdisk_id'):
            if metadata.get('properties', {}).get(name) == '':
                del metadata['properties'][name]
        if data is not None:
            path = os.path.join(self.folder, image_id)
            with open(path, 'wb') as f:
                shutil.copyfileobj(data, f)
            self.files[image_id] = path
            metadata |= {'size': os.path.getsize(path), 'status': 'active'}
        return super().update(context, image_id, metadata, None, purge_props)


class Neutron(nova_fixtures.NeutronFixture):
    """Hands out ports that Nova makes tap devices of, with no bridge."""

    def setUp(self):
        super().setUp()
        for port in (self.default_port, *self._ports.values()):
            if port['binding:vif_type'] == 'ovs':
                port['binding:vif_type'] = 'tap'


class Cinder(nova_fixtures.CinderFixture):
    """Hands out volumes that are raw files.

    GPFS is the one of Cinder's backends whose volumes are plain paths to
    Nova, so that it needs no daemon and no mount.
    """

    def add(self, path, size_gb=1):
        """Make a volume in a file for the witness; returns its id."""
        with open(path, 'wb') as f:
            f.write(b'WITNESS-VOLUME')
            f.truncate(_VOLUME_BYTES)
        volume_id = uuidutils.generate_uuid()
        self.VOLUME_CONNECTION_INFO = self.VOLUME_CONNECTION_INFO | {
            volume_id: {'driver_volume_type': 'gpfs',
                        'data': {'device_path': path}}}
        return volume_id
