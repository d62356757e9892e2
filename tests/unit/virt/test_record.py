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

import dataclasses
import json
import os

import fixtures
import testtools

from nova_flexmem import exception
from nova_flexmem.virt import record

RECORD = record.Record(
    base_key='0' * 32, root_sha256='1' * 64, image_id='an-image',
    image_sha256='2' * 64, device='nvdimm', writes='disk',
    direct_paths=['/var/lib/docker'], rootfs='ext4')


class RecordTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(self.folder, record.NAME)

    def test_it_comes_back_as_it_was_written(self):
        RECORD.write(self.folder)
        self.assertEqual(RECORD, record.read(self.folder))
        self.assertEqual([record.NAME], os.listdir(self.folder))

    def test_one_of_before_the_root_filesystem_was_noted(self):
        RECORD.write(self.folder)
        with open(self.path) as f:
            fields = json.load(f)
        del fields['rootfs'], fields['kernel']
        with open(self.path, 'w') as f:
            json.dump(fields, f)
        self.assertEqual(dataclasses.replace(RECORD, rootfs=None),
                         record.read(self.folder))

    def test_what_older_versions_do_not_know_is_left_out(self):
        self.assertNotIn('without', RECORD.text())
        lean = dataclasses.replace(RECORD, without=['video'])
        self.assertEqual(lean, record.parse(lean.text(), 'here'))

    def test_a_stock_instance_has_none(self):
        self.assertIsNone(record.read(self.folder))
        self.assertIsNone(record.read(os.path.join(self.folder, 'gone')))

    def test_a_torn_one_is_not_taken_for_none(self):
        RECORD.write(self.folder)
        with open(self.path) as f:
            whole = f.read()
        for content in ('', whole[:20], 'null', '[' * 100000):
            with open(self.path, 'w') as f:
                f.write(content)
            e = self.assertRaises(exception.RecordUnusable, record.read,
                                  self.folder)
            self.assertIn(self.path, str(e))

    def test_one_of_another_format_is_refused(self):
        RECORD.write(self.folder)
        with open(self.path) as f:
            fields = json.load(f)
        for change in ({'format': 2}, {'unknown': 1}):
            with open(self.path, 'w') as f:
                json.dump(fields | change, f)
            self.assertRaises(exception.RecordUnusable, record.read,
                              self.folder)
