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

"""What hosts tell of their bases."""

import json
import os
import shutil

import fixtures
import testtools

import nova.conf

from nova_flexmem.store import basestore
from nova_flexmem.virt import basecounts
from nova_flexmem.virt import hoststats
from tests.unit.image import samples
from tests.unit.virt import driver_test
from tests.unit.virt import test_record

CONF = nova.conf.CONF

_IMAGE = '155d900f-4e14-4e4c-a73d-069cbf4541e6'
_OTHER = 'c905cedb-7281-47e4-8a62-f26bc5fc4c77'
_KEY, _OTHER_KEY = 'a' * 32, 'b' * 32


class HostStatsTest(testtools.TestCase):

    def test_what_is_told_is_read_again(self):
        stats = hoststats.encode({(_IMAGE, ''): 3, (_OTHER, ''): 0,
                                  (_IMAGE, 'a-project'): 2})
        self.assertEqual(5, hoststats.counter(_IMAGE, 'a-project')(stats))
        self.assertEqual(3, hoststats.counter(_IMAGE, 'another')(stats))
        self.assertEqual(0, hoststats.counter(_OTHER, 'another')(stats))
        self.assertIsNone(hoststats.counter(_IMAGE, 'another')({}))

    def test_it_fits_into_novas_column(self):
        stats = hoststats.encode({
            (f'{_IMAGE[:-5]}{number:05}', f'{number:032}'): number
            for number in range(5000)})
        self.assertLess(len(json.dumps(stats)), 16 << 10)
        # what saves most is kept
        self.assertEqual(4999, hoststats.counter(
            f'{_IMAGE[:-5]}04999', f'{4999:032}')(stats))
        self.assertIsNone(hoststats.counter(
            f'{_IMAGE[:-5]}00000', f'{0:032}')(stats))


class CountTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.store = basestore.Store(os.path.join(self.folder, 'store'))

    def count(self):
        return basecounts.count(self.store, self.folder)

    def publish(self, key, *image_ids, **facts):
        samples.publish(self.store, key, **facts)
        for name in image_ids:
            self.store.set_name(name, key)

    def test_no_base(self):
        self.assertEqual({}, self.count())

    def test_bases_in_use_and_out_of_use(self):
        self.publish(_KEY, f'{_IMAGE}.auto')
        self.publish(_OTHER_KEY, _OTHER)
        for user in ('one', 'two'):
            self.store.use(_KEY, user)
        self.assertEqual({(_IMAGE, ''): 2, (_OTHER, ''): 0}, self.count())

    def test_one_base_of_two_images(self):
        self.publish(_KEY, f'{_IMAGE}.auto', f'{_OTHER}.erofs')
        self.store.use(_KEY, 'one')
        self.assertEqual({(_IMAGE, ''): 1, (_OTHER, ''): 1}, self.count())

    def test_two_bases_of_one_image(self):
        self.publish(_KEY, f'{_IMAGE}.auto')
        self.publish(_OTHER_KEY, f'{_IMAGE}.ext4')
        self.store.use(_KEY, 'one')
        self.store.use(_OTHER_KEY, 'two')
        self.assertEqual({(_IMAGE, ''): 2}, self.count())

    def test_a_projects_base(self):
        self.publish(_KEY, f'{_IMAGE}.auto.a-project', scope='a-project')
        self.store.use(_KEY, 'one')
        self.assertEqual({(_IMAGE, 'a-project'): 1}, self.count())

    def test_a_base_that_another_host_gave_has_no_name(self):
        self.publish(_KEY)
        self.assertEqual({}, self.count())
        self.store.use(_KEY, 'one')
        folder = os.path.join(self.folder, 'one')
        os.mkdir(folder)
        test_record.RECORD.write(folder)
        self.assertEqual({(test_record.RECORD.image_id, ''): 1}, self.count())

    def test_damage_hides_no_other_base(self):
        self.publish(_KEY, _IMAGE)
        self.publish(_OTHER_KEY, _OTHER)
        self.store.use(_KEY, 'one')
        os.mkdir(os.path.join(self.folder, 'one'))
        with open(os.path.join(self.folder, 'one', 'flexmem.json'), 'w') as f:
            f.write('torn')
        samples.truncate(self.store, _OTHER_KEY, 'manifest.json', 9)
        self.assertEqual({(_IMAGE, ''): 1}, self.count())


class DriverTest(driver_test.DriverTest):

    def test_the_driver_tells_novas_resource_tracker(self):
        name = f'flexmem_base:{driver_test.IMAGE}'
        stats = self.driver.get_available_resource('node')['stats']
        self.assertEqual(('0', True), (stats[name], 'uptime' in stats))
        self.spawned()
        self.assertEqual('1', self.driver.get_available_resource(
            'node')['stats'][name])

    def test_a_store_that_cannot_be_used_is_no_reason_to_stop(self):
        shutil.rmtree(self.store.path)
        with open(CONF.flexmem.store_path, 'w'):
            pass
        stats = self.driver.get_available_resource('node')['stats']
        self.assertEqual(['uptime'], list(stats))
