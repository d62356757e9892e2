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

"""Instances that hosts do not report yet, in Nova's own databases."""

import datetime
import warnings

from oslo_utils import fixture as time_fixture
from oslo_utils import uuidutils
from sqlalchemy import exc as sa_exc

from nova import context
from nova import objects
from nova import test
from nova.tests import fixtures as nova_fixtures

from nova_flexmem.scheduler import recent
from tests.unit.scheduler import requests


class RecentTest(test.TestCase):

    def setUp(self):
        super().setUp()
        # Nova's own queries; its tests make an error of any warning
        warnings.filterwarnings('ignore', category=sa_exc.SADeprecationWarning)
        self.context = context.get_admin_context()
        self.time = self.useFixture(time_fixture.TimeFixture())
        self.cells = [self.cell_mappings[name].uuid
                      for name in ('cell1', 'cell2')]
        self.recent = recent.Recent()

    NUMBER_OF_CELLS = 2

    def make(self, host, image=requests.IMAGE, cell='cell1'):
        with context.target_cell(self.context,
                                 self.cell_mappings[cell]) as target:
            instance = objects.Instance(
                target, uuid=uuidutils.generate_uuid(), host=host,
                image_ref=image, project_id='a-project',
                flavor=objects.Flavor(
                    id=1, name='f', flavorid='f', memory_mb=1, vcpus=1,
                    root_gb=1, ephemeral_gb=0, swap=0, rxtx_factor=1.0,
                    vcpu_weight=0, disabled=False, is_public=True,
                    extra_specs={}, description=None))
            instance.create()
            instance.task_state = 'spawning'
            instance.save()
        return instance

    def instances(self, spec=None):
        spec = spec or objects.RequestSpec(
            image=objects.ImageMeta(id=requests.IMAGE))
        return self.recent.instances(spec, set(self.cells))

    def test_all_cells_hosts_and_images(self):
        for host, image, cell in (
                ('a', requests.IMAGE, 'cell1'),
                ('a', requests.IMAGE, 'cell1'),
                ('b', requests.IMAGE, 'cell2'),
                ('c', requests.SNAPSHOT, 'cell1'),
                (None, requests.IMAGE, 'cell1')):
            self.make(host, image, cell)
        self.assertEqual({'a': 2, 'b': 1}, self.instances())

    def test_old_and_deleted_ones_are_not_new(self):
        self.make('old')
        self.time.advance_time_delta(datetime.timedelta(minutes=11))
        self.make('new')
        self.make('gone').destroy()
        self.assertEqual({'new': 1}, self.instances())

    def test_one_query_for_a_request(self):
        self.make('a')
        first = objects.RequestSpec(image=objects.ImageMeta(id=requests.IMAGE))
        self.assertEqual({'a': 1}, self.instances(first))
        self.make('b')
        self.assertEqual({'a': 1}, self.instances(first))
        # however soon another request comes
        self.assertEqual({'a': 1, 'b': 1}, self.instances())

    def test_a_cell_that_does_not_answer(self):
        self.make('a')
        self.make('b', cell='cell2')
        self.useFixture(nova_fixtures.DownCellFixture(
            [self.cell_mappings['cell2']]))
        self.assertEqual({'a': 1}, self.instances())
        self.assertIn(f'Cell {self.cells[1]} did not tell', self.stdlog.logger
                      .output)
