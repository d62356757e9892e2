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

"""Which base a request needs, by Nova's own databases."""

import warnings

from sqlalchemy import exc as sa_exc

from nova import context
from nova import objects
from nova import test
from nova.tests.unit import fake_build_request

from nova_flexmem.scheduler import request
from nova_flexmem.virt import marks
from tests.unit.scheduler import requests


class BaseImageTest(test.TestCase):

    def setUp(self):
        super().setUp()
        # Nova's own queries; its tests make an error of any warning
        warnings.filterwarnings('ignore', category=sa_exc.SADeprecationWarning)
        request._below.cache_clear()
        self.addCleanup(request._below.cache_clear)
        self.context = context.get_admin_context()

    def snapshot(self):
        return requests.spec(requests.SNAPSHOT, traits=[marks.TRAIT])

    def ask_for_instance(self, **metadata):
        """Have the API ask for an instance, which has no host yet."""
        instance = objects.Instance(
            self.context, uuid=requests.INSTANCE, project_id='a-project',
            system_metadata=metadata)
        fields = fake_build_request.fake_db_req()
        made = objects.BuildRequest(
            self.context, instance_uuid=requests.INSTANCE,
            project_id='a-project', instance=instance,
            block_device_mappings=objects.BlockDeviceMappingList(),
            tags=objects.TagList())
        self.assertEqual('fake-project', fields['project_id'])
        made.create()

    def make_instance(self, **metadata):
        """Have an instance in a cell."""
        cell = self.cell_mappings['cell1']
        with context.target_cell(self.context, cell) as target:
            objects.Instance(
                target, uuid=requests.INSTANCE, project_id='a-project',
                flavor=objects.Flavor(
                    id=1, name='f', flavorid='f', memory_mb=1, vcpus=1,
                    root_gb=1, ephemeral_gb=0, swap=0, rxtx_factor=1.0,
                    vcpu_weight=0, disabled=False, is_public=True,
                    extra_specs={}, description=None),
                system_metadata=metadata).create()
        objects.InstanceMapping(
            self.context, instance_uuid=requests.INSTANCE,
            project_id='a-project', cell_mapping=cell).create()

    def test_a_plain_image_needs_no_look_up(self):
        self.stub_out('nova_flexmem.scheduler.request._system_metadata', None)
        self.assertEqual(requests.IMAGE, request.base_image(requests.spec()))

    def test_a_snapshot_of_a_new_instance(self):
        self.ask_for_instance(image_flexmem_base_image=requests.IMAGE)
        self.assertEqual(requests.IMAGE, request.base_image(self.snapshot()))

    def test_a_snapshot_of_an_instance_that_moves(self):
        # unshelved, it has the metadata of its first image, and the mark
        self.make_instance(flexmem_base_image=requests.IMAGE,
                           image_os_distro='debian')
        self.assertEqual(requests.IMAGE, request.base_image(self.snapshot()))

    def test_an_image_with_the_trait_that_is_no_snapshot(self):
        self.ask_for_instance(image_os_distro='debian')
        self.assertEqual(requests.SNAPSHOT,
                         request.base_image(self.snapshot()))

    def test_an_instance_that_is_gone(self):
        self.assertEqual(requests.SNAPSHOT,
                         request.base_image(self.snapshot()))

    def test_one_look_up_for_an_instance(self):
        self.ask_for_instance(image_flexmem_base_image=requests.IMAGE)
        request.base_image(self.snapshot())
        self.stub_out('nova_flexmem.scheduler.request._system_metadata', None)
        self.assertEqual(requests.IMAGE, request.base_image(self.snapshot()))
