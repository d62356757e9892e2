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

"""Has tests of the life cycle run with root disks in a Ceph of their own."""

import uuid

import libvirt

from nova_flexmem.demo import hypervisor
from tests.ceph import cluster as ceph_cluster
from tests.ceph import glance

_SECRET = """\
<secret ephemeral='yes' private='yes'>
  <uuid>{uuid}</uuid>
  <usage type='ceph'><name>{uuid}</name></usage>
</secret>
"""


class OnCeph:
    """Part of a test case: root disks and images are in Ceph.

    :cvar removes_folders: as the option [workarounds]
        ensure_libvirt_rbd_instance_dir_cleanup
    :ivar cluster: the Cluster
    """

    removes_folders = True

    images_type = 'rbd'
    image_format = 'raw'
    glance_class = glance.CephGlance

    def setUp(self):
        reason = ceph_cluster.why_not()
        if reason:
            self.skipTest(reason)
        self.cluster = ceph_cluster.shared()
        self.glance_class.cluster = self.cluster
        self.addCleanup(self.cluster.purge)  # last of all
        self.secret = self._define_secret()
        super().setUp()
        # Nova's test case forgets its attributes before
        self.addCleanup(self._assert_nothing_left_in_pools, self.cluster,
                        self.glance)

    def _define_secret(self):
        secret_id = str(uuid.uuid4())
        connection = libvirt.open(hypervisor.URI)
        self.addCleanup(connection.close)
        secret = connection.secretDefineXML(_SECRET.format(uuid=secret_id))
        self.addCleanup(secret.undefine)
        secret.setValue(self.cluster.key())
        return secret_id

    def _set_options(self):
        super()._set_options()
        self.flags(images_rbd_pool=ceph_cluster.POOL,
                   images_rbd_ceph_conf=self.cluster.conf,
                   rbd_user=ceph_cluster.USER, rbd_secret_uuid=self.secret,
                   rbd_destroy_volume_retry_interval=1,
                   rbd_destroy_volume_retries=60, group='libvirt')
        self.flags(ensure_libvirt_rbd_instance_dir_cleanup=(
            self.removes_folders), group='workarounds')

    def _assert_nothing_left_in_pools(self, cluster, images):
        for image in [*images.images.values()]:
            if image.get('locations'):
                images.delete(None, image['id'])
        self.assertEqual(
            (set(), set()), (cluster.images(),
                             cluster.images(ceph_cluster.IMAGES_POOL)))

    def assert_nothing_left(self, server):
        super().assert_nothing_left(server)
        self.assertEqual([], [name for name in self.cluster.images()
                              if server['id'] in name])
