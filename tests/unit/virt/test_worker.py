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

import json

from oslo_config import cfg
import testtools

from nova_flexmem import conf as flexmem_conf
from nova_flexmem import exception
from nova_flexmem import process
from nova_flexmem.virt import worker


class WorkerTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        conf = cfg.ConfigOpts()
        flexmem_conf.register_opts(conf)
        self.group = conf.flexmem

    def answer(self, text):
        self.patch(process, 'run', lambda *_args, **_kwargs: text)
        return worker.call('check', self.group, key='a-key')

    def test_a_result(self):
        self.assertEqual({'key': 5}, self.answer('{"result": {"key": 5}}'))

    def test_what_it_raised(self):
        e = self.assertRaises(exception.ImageRefused, self.answer, json.dumps(
            {'raised': 'ImageRefused',
             'kwargs': {'image': 'file', 'reason': 'it is odd'}}))
        self.assertEqual('file: it is odd', str(e))

    def test_nonsense(self):
        for text in ('', 'Killed', 'warning: odd\n{"result": 5}', '5', '[]',
                     'null', '{}', '{"raised": "NoSuchException"}',
                     '{"raised": "NoSuchException", "kwargs": {}}',
                     '{"raised": "ImageRefused", "kwargs": {}}',
                     '{"raised": "ImageRefused", "kwargs": 5}',
                     '{"raised": 5, "kwargs": {}}',
                     '{"raised": "one_line", "kwargs": {"text": "x"}}'):
            e = self.assertRaises(exception.ProgramFailed, self.answer, text)
            self.assertIn('the worker for check', str(e), text)
            self.assertIn('restart nova-compute', str(e))

    def test_a_real_one(self):
        """It knows its tasks, and says what a task raises."""
        e = self.assertRaises(exception.FlexMemException, worker.call,
                              'verify', self.group, folder='/no/such/folder')
        self.assertIn('/no/such/folder', str(e))
