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

import os
import shutil
import types

import fixtures
from oslo_concurrency import processutils
import testtools

from nova import objects

from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore
from nova_flexmem.virt import bring
from nova_flexmem.virt import layered
from tests.unit.image import samples

_KEY = 'a' * 32
_IMAGE = '155d900f-4e14-4e4c-a73d-069cbf4541e6'
_SHA256 = '5' * 64


class BringTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.here, self.there = (
            basestore.Store(self.useFixture(fixtures.TempDir()).path)
            for _host in range(2))
        samples.publish(self.there, _KEY, image_sha256=_SHA256)
        self.group = types.SimpleNamespace(max_store_size_gib=0)
        self.wanted = layered.Wanted(
            _IMAGE, _SHA256, 'erofs', _KEY, self.there.require(_KEY).layout)
        self.copied = []
        self.patch(bring.libvirt_utils, 'copy_image', self.copy)
        self.patch(bring.worker, 'call', self.verify)

    def copy(self, source, target, host, receive):
        self.assertEqual(('there', True), (host, receive))
        self.copied.append(os.path.basename(source))
        try:
            shutil.copy(source.replace(self.here.path, self.there.path),
                        target)
        except FileNotFoundError as e:
            raise processutils.ProcessExecutionError(str(e))

    def verify(self, task, _group, folder):
        self.assertEqual('verify', task)
        basefiles.Base(folder).verify()

    def bring(self, wanted=None, scope=''):
        return bring.bring(self.here, self.group, wanted or self.wanted,
                           scope, 'there')

    def assert_not_brought(self, words, *how, copied):
        self.assertFalse(self.bring(*how))
        self.assertEqual([], self.here.keys())
        self.assertEqual([], os.listdir(self.here.folder('builds')))
        self.assertIn(words, self.log.output)
        self.assertEqual(copied, len(self.copied))

    def test_whole(self):
        self.assertTrue(self.bring())
        self.assertEqual([_KEY], self.here.keys())
        self.here.require(_KEY).verify()
        self.assertEqual([basefiles.MANIFEST, *basefiles.FILES], self.copied)
        self.assertEqual([], os.listdir(self.here.folder('builds')))

    def test_another_layout(self):
        """Only the manifest is copied before that is known."""
        self.assert_not_brought(
            'another layout', layered.Wanted(
                _IMAGE, _SHA256, 'erofs', _KEY, '9' * 64), copied=1)

    def test_base_of_another_project(self):
        self.assert_not_brought('another layout', self.wanted, 'a-project',
                                copied=1)

    def test_damaged_there(self):
        path = os.path.join(self.there.folder('bases'), _KEY,
                            basefiles.ROOT_PMEM)
        os.chmod(path, 0o644)
        with open(path, 'r+b') as f:
            f.seek(-1, os.SEEK_END)
            f.write(b'x')
        self.assert_not_brought(basefiles.ROOT_PMEM, copied=4)

    def test_gone_there(self):
        self.there.remove(_KEY)
        self.assert_not_brought('from there', copied=1)

    def test_no_room_here(self):
        def no_room(_store, _bytes, _limit):
            raise OSError(28, 'No space left on device')

        self.patch(bring.room, 'make_room', no_room)
        self.assert_not_brought('No space left', copied=1)

    def test_room_is_asked_for_all_files(self):
        asked = []
        self.patch(bring.room, 'make_room',
                   lambda _store, size_bytes, _limit: asked.append(size_bytes))
        self.bring()
        folder = os.path.join(self.there.folder('bases'), _KEY)
        self.assertEqual([sum(os.path.getsize(os.path.join(folder, name))
                              for name in basefiles.FILES)], asked)


class HostsWithTest(testtools.TestCase):

    def elevated(self):
        """Be a context, and the one that may see all instances."""
        return 'elevated'

    def hosts(self, *hosts):
        self.asked = None

        def get_by_filters(context, filters, expected_attrs):
            self.assertEqual('elevated', context)
            self.asked = filters
            return [types.SimpleNamespace(host=host) for host in hosts]

        self.patch(objects.InstanceList, 'get_by_filters', get_by_filters)
        self.patch(bring, 'CONF', types.SimpleNamespace(host='here'))
        return bring.hosts_with(self, _IMAGE)

    def test_other_hosts_once(self):
        self.assertEqual(['a', 'b'],
                         self.hosts('b', 'a', 'here', None, 'b'))
        self.assertEqual(
            {'deleted': False,
             'system_metadata': {layered.SYSTEM_KEY: _IMAGE}}, self.asked)

    def test_not_all_of_many(self):
        self.assertEqual(8, len(self.hosts(*map(str, range(100)))))

    def test_none(self):
        self.assertEqual([], self.hosts('here'))
