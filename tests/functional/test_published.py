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

"""Bases that one host publishes and another takes, by a real Glance."""

import dataclasses
import datetime
import os
import signal
import subprocess
import sys
import types
import uuid

import fixtures
import testtools
import zstandard

from nova import exception as nova_exception
from nova.virt import images

from nova_flexmem import exception
from nova_flexmem.publish import archive
from nova_flexmem.publish import claims
from nova_flexmem.publish import glance as glance_module
from nova_flexmem.publish import inventory
from nova_flexmem.publish import publication
from nova_flexmem.store import basefiles
from nova_flexmem.virt import bases
from nova_flexmem.virt import bring
from nova_flexmem.virt import layered
from nova_flexmem.virt import marks
from nova_flexmem.virt import record
from nova_flexmem.virt import worker
from tests.functional import dying_builder
from tests.functional import publishing
from tests import glance_server
from tests.unit.image import samples


class PublishedTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.glance = self.connect()
        self.need = publication.Need(str(uuid.uuid4()), None, 'auto', '')
        self.addCleanup(self.remove_all)
        self.a, self.b = (publishing.Host(self, name, self.connect)
                          for name in 'ab')

    def connect(self):
        return glance_module.Glance(
            glance_server.server().client(publishing.SERVICE),
            publishing.SERVICE)

    def images(self):
        return self.glance.list(**{publication.IMAGE: self.need.image_id})

    def remove_all(self):
        for image in self.images():
            self.glance.delete(image.id)

    def assert_nothing_left(self, host):
        for folder in ('builds', 'downloads'):
            self.assertEqual([], os.listdir(host.store.folder(folder)))

    def owner(self, image_id=None):
        return types.SimpleNamespace(system_metadata={
            marks.SYSTEM_KEY: image_id or self.need.image_id})


class PublishedTest(PublishedTestCase):

    def test_built_once(self):
        key = self.a.obtain(self.need, publishing.IMAGE)
        self.assertEqual(key, self.b.obtain(self.need, publishing.IMAGE))
        self.assertEqual((1, 0), (self.a.builds, self.b.builds))
        for host in self.a, self.b:
            host.store.verify(key)
            self.assert_nothing_left(host)
        self.assertIn('built by a', self.log.output)
        self.assertEqual(*(open(host.store.require(key).file(
            basefiles.MANIFEST)).read() for host in (self.a, self.b)))

    def test_a_build_that_fails(self):
        def fail():
            raise exception.BuildFailed(image='x', reason='it does')

        self.assertRaises(exception.BuildFailed, self.a.obtain, self.need,
                          publishing.IMAGE, build=fail)
        self.assertEqual([], self.images())
        self.b.obtain(self.need, publishing.IMAGE)
        self.assertEqual(1, self.b.builds)

    def test_of_a_project(self):
        need = publication.Need(self.need.image_id, None, 'auto', 'project')
        key = self.a.obtain(need, publishing.IMAGE)
        self.assertEqual('project', self.a.store.require(key).manifest.scope)
        self.b.obtain(self.need, publishing.IMAGE)
        self.assertEqual(1, self.b.builds)
        self.assertEqual(key, publishing.Host(self, 'c', self.connect).obtain(
            need, publishing.IMAGE))

    def test_the_image_is_gone(self):
        """Only who was made from it gets its base."""
        key = self.a.obtain(self.need, publishing.IMAGE)
        for owner in (None, self.owner('another'), types.SimpleNamespace()):
            self.assertRaises(nova_exception.ImageNotFound, self.b.obtain,
                              self.need, None, owner)
        self.assertEqual(key, self.b.obtain(self.need, None, self.owner()))

    def test_the_image_is_gone_and_no_base_is_there(self):
        self.assertRaises(nova_exception.ImageNotFound, self.b.obtain,
                          self.need, None, self.owner())
        self.assertEqual([], self.images())

    def test_glance_is_gone(self):
        """At any time; the host builds for itself."""
        def refuse():
            raise exception.PublishFailed(reason='no answer')

        gone = publishing.Host(self, 'c', refuse)
        self.assertIsNotNone(gone.obtain(self.need, publishing.IMAGE))
        self.assertEqual(1, gone.builds)
        self.assertIn('not published: published bases: no answer',
                      self.log.output)
        for method in ('list', 'create', 'update', 'upload'):
            broken = publishing.Host(self, 'c', self.connect)
            glance = broken.published._glance
            self.patch(glance, method, lambda *_args, **_kwargs: refuse())
            self.assertIsNotNone(broken.obtain(self.need, publishing.IMAGE))
            self.assertEqual(1, broken.builds)
            self.assertEqual([], self.images())
            self.assert_nothing_left(broken)

    def test_glance_is_gone_in_the_middle_of_a_download(self):
        self.a.obtain(self.need, publishing.IMAGE)
        self.patch(self.b.published._glance, 'download', self._break_off)
        self.assertIsNotNone(self.b.obtain(self.need, publishing.IMAGE))
        self.assertEqual(1, self.b.builds)
        self.assert_nothing_left(self.b)
        self.assertEqual(1, len(self.images()))  # it is not to blame

    def _break_off(self, _image_id, path, _max_bytes):
        with open(path, 'xb') as f:
            f.write(b'x' * 1000)
        raise exception.PublishFailed(reason='connection reset')

    def wanted(self, base, **changes):
        return layered.Wanted(**{
            'image_id': self.need.image_id,
            'image_sha256': base.manifest.image_sha256, 'rootfs': 'erofs',
            'base_key': base.key, 'layout': base.layout} | changes)

    def test_the_layout_of_a_delta(self):
        key = self.a.obtain(self.need, publishing.IMAGE)
        base = self.a.store.require(key)
        take = self.b.published.take_layout
        for wanted, scope in (
                (self.wanted(base, layout='9' * 64), None),
                (self.wanted(base, base_key='9' * 32), None),
                (self.wanted(base, image_sha256='9' * 64), None),
                (self.wanted(base), 'a-project')):
            self.assertIsNone(take(wanted, scope))
        self.assertEqual([], self.b.store.keys())
        self.assertEqual(key, take(self.wanted(base), None))
        self.assertEqual([key], self.b.store.keys())

    def test_no_room(self):
        self.a.obtain(self.need, publishing.IMAGE)
        small = publishing.Host(self, 'c', self.connect, max_store_size_gib=1)
        with open(small.store.folder('boot') + '/x', 'wb') as f:
            os.posix_fallocate(f.fileno(), 0, 1 << 30)
        self.assertIsNotNone(small.obtain(self.need, publishing.IMAGE))
        self.assertIn('max_store_size_gib', self.log.output)
        self.assertEqual(1, small.builds)  # which would say so itself
        self.assertEqual(1, len(self.images()))

    def test_larger_than_this_host_takes(self):
        self.a.obtain(self.need, publishing.IMAGE)
        self.patch(archive, 'write_manifest', self._too_large)
        self.assertIsNotNone(self.b.obtain(self.need, publishing.IMAGE))
        self.assertEqual(1, self.b.builds)
        self.assertEqual(1, len(self.images()))

    @staticmethod
    def _too_large(*_args):
        raise exception.PublishFailed(reason='root.pmem is too large')


class BasesTest(PublishedTestCase):
    """The bases of two hosts' drivers; only builds and Nova are played."""

    def setUp(self):
        super().setUp()
        self.image_id = self.need.image_id
        self.image = {'disk_format': 'qcow2'} | publishing.IMAGE
        self.instance = types.SimpleNamespace(
            project_id='', trusted_certs=None, uuid=str(uuid.uuid4()),
            system_metadata={})
        self.patch(images, 'fetch', lambda _context, _id, path, _certs:
                   open(path, 'x').close())
        self.patch(bring, 'hosts_with', lambda *_args: [])
        self.call = worker.call
        self.patch(worker, 'call', self.play_build)
        self.drivers = {host: bases.Bases(host.group, self, self.connect)
                        for host in (self.a, self.b)}

    def get(self, _context, image_id):
        """Be Nova's image API."""
        if self.image is None:
            raise nova_exception.ImageNotFound(image_id=image_id)
        return self.image

    def play_build(self, task, group, **arguments):
        if task != 'build':
            return self.call(task, group, **arguments)
        host, = (host for host in self.drivers if host.group is group)
        base = host.build(arguments['scope'])
        host.store.set_name(arguments['name'], base.key)
        return {'key': base.key, 'new': True}

    def of_image(self, host):
        base = self.drivers[host].of_image(None, self.instance, self.image_id)
        self.drivers[host]._published.wait_uploads()
        return base

    def test_built_by_one(self):
        base = self.of_image(self.a)
        self.assertEqual(base.key, self.of_image(self.b).key)
        self.assertEqual((1, 0), (self.a.builds, self.b.builds))
        # by name from now on, also without Glance
        self.image = None
        self.assertEqual(base.key, self.of_image(self.b).key)
        self.assertEqual([f'{self.image_id}.auto'],
                         self.b.store.names_of(base.key))

    def test_the_image_is_gone(self):
        base = self.of_image(self.a)
        self.image = None
        self.assertRaises(nova_exception.ImageNotFound, self.of_image, self.b)
        self.instance.system_metadata[marks.SYSTEM_KEY] = self.image_id
        self.assertEqual(base.key, self.of_image(self.b).key)
        self.assertEqual(0, self.b.builds)

    def test_the_base_of_a_delta(self):
        base = self.of_image(self.a)
        self.image = None
        wanted = record.Record(
            base.key, base.layout, self.image_id, base.manifest.image_sha256,
            'nvdimm', 'disk', [], 'erofs')
        self.assertEqual(base.key, self.drivers[self.b].of_record(
            None, self.instance, wanted).key)
        self.assertEqual(0, self.b.builds)

    def test_switched_off(self):
        driver = bases.Bases(self.b.group, self)
        self.drivers[self.b] = driver
        self.of_image(self.a)
        driver.of_image(None, self.instance, self.image_id)
        self.assertEqual(1, self.b.builds)


class DamagedTest(PublishedTestCase):
    """Published bases that are not what they seem: none is taken."""

    def forge(self, data=None, cut=0, drop=(), facts=None, **properties):
        """Publish a base of which something is wrong."""
        base = self.a.build(**facts or {})
        path = os.path.join(self.useFixture(fixtures.TempDir()).path, 'data')
        archive.pack(base, path)
        if data is not None:
            with open(path, 'wb') as f:
                f.write(data(base))
        os.truncate(path, os.path.getsize(path) - cut)
        need = dataclasses.replace(
            self.need, image_hash=publishing.IMAGE['os_hash_value'])
        told = need.properties('a') | publication.of_base(
            base.manifest, archive.read_manifest(base)) | properties
        image = self.glance.create('forged', {
            name: value for name, value in told.items() if name not in drop})
        self.glance.upload(image.id, path)
        return base

    def assert_not_taken(self, base, removed=True):
        key = self.b.obtain(self.need, publishing.IMAGE)
        self.assertNotEqual(base.key, key)
        self.assertEqual([key], self.b.store.keys())
        self.b.store.verify(key)
        self.assertEqual(1, self.b.builds)
        self.assert_nothing_left(self.b)
        left = [image.properties.get(publication.KEY)
                for image in self.images()]
        # the next host gets what this one built
        self.assertIn(key, left)
        self.assertEqual(removed, base.key not in left)
        self.remove_all()
        self.b = publishing.Host(self, 'b', self.connect)

    def contents(self, base):
        return bytearray(b''.join(
            open(base.file(name), 'rb').read() for name in basefiles.FILES))

    def packed(self, base, position=None, behind=b'', length=None):
        data = self.contents(base)
        if position is not None:
            data[position] ^= 1
        return zstandard.ZstdCompressor().compress(
            bytes(data[:length]) + behind)

    def test_data(self):
        for wrong in (
                {'cut': 1}, {'cut': 4096},
                {'data': lambda base: b'x'},
                {'data': self.contents},
                {'data': lambda base: self.packed(base, 0)},
                {'data': lambda base: self.packed(base, -1)},
                {'data': lambda base: self.packed(base, 3 << 20)},
                {'data': lambda base: self.packed(base, behind=b'x')},
                {'data': lambda base: self.packed(base, length=-1)},
                {'data': lambda base: self.packed(base, length=0)},
                {'data': lambda base: self.packed(
                    base, behind=bytes(256 << 20))}):
            self.assert_not_taken(self.forge(**wrong))
        self.assertIn('is removed, and not used', self.log.output)

    def test_properties(self):
        text = archive.read_manifest(self.a.build())
        for wrong in (
                {publication.KEY: '../../etc'}, {publication.KEY: '0' * 32},
                {publication.MANIFEST: text}, {publication.MANIFEST: '{}'},
                {publication.MANIFEST: '[' * 50_000}):
            self.assert_not_taken(self.forge(**wrong))
        self.assert_not_taken(self.forge(drop=(publication.KEY,)))
        # it is not one of these bases at all
        for wrong in ({'drop': (publication.MANIFEST,)},
                      {publication.IMAGE_HASH: 'b' * 128},
                      {publication.NEED: '0' * 32}):
            self.assert_not_taken(self.forge(**wrong), removed=False)

    def test_boot_files_of_another_version_that_cannot_be_made_anew(self):
        self.assert_not_taken(self.forge(facts={'boot_id': 'another'}))

    def test_another_root_filesystem_and_scope(self):
        for facts in ({'scope': 'another-project'},):
            base = self.a.build(**facts)
            text = archive.read_manifest(base)
            forged = self.forge(**{publication.MANIFEST: text,
                                   publication.KEY: base.key})
            key = self.b.obtain(self.need, publishing.IMAGE)
            self.assertNotIn(key, (base.key, forged.key))
            self.assertEqual([key], self.b.store.keys())
            self.assertEqual(1, self.b.builds)

    def test_a_file_is_damaged_at_the_publisher(self):
        """Nothing that is damaged gets into Glance."""
        def build():
            base = self.a.build()
            samples.truncate(self.a.store, base.key, basefiles.KERNEL, 3)
            return base

        self.a.obtain(self.need, publishing.IMAGE, build=build)
        self.assertEqual([], self.images())
        self.assertIn('is not published', self.log.output)


class KilledTest(PublishedTestCase):
    """A builder that kill -9 ends; another host gets the base all the same."""

    def test_at_each_point(self):
        self.assertEqual(10, len(dying_builder.POINTS))
        for point in dying_builder.POINTS:
            ended = subprocess.run(
                [sys.executable, '-m', dying_builder.__name__,
                 glance_server.server().url, self.need.image_id, point],
                stderr=subprocess.PIPE, text=True, timeout=300, check=False)
            self.assertEqual(-signal.SIGKILL, ended.returncode,
                             (point, ended.stderr))
            # an upload that was cut short is over once Glance notices
            host = publishing.Host(self, 'b', self.connect)
            host.published._claims = claims.Claims(
                self.glance, 'b', 60, expiry_s=2, beat_s=0.5, poll_s=0.2)
            key = host.obtain(self.need, publishing.IMAGE)
            host.store.verify(key)
            self.assertEqual(int(point != 'after the upload'), host.builds,
                             point)
            self.assert_nothing_left(host)
            [image] = self.images()
            self.assertEqual((key, 'active'), (
                image.properties[publication.KEY], image.status), point)
            self.remove_all()


class NoServers:
    """A Nova that has servers of some images."""

    def __init__(self, *image_ids):
        self._image_ids = image_ids

    def are_made_from(self, image_id):
        return image_id in self._image_ids


class InventoryTest(PublishedTestCase):

    def entries(self):
        return [entry for entry in inventory.entries(self.glance)
                if entry.image_id == self.need.image_id]

    def test_listed(self):
        key = self.a.obtain(self.need, publishing.IMAGE)
        claim = self.glance.create('claim', self.need.properties('b'))
        base, claimed = sorted(self.entries(),
                               key=lambda entry: entry.status)
        self.assertEqual((key, 'active', 'a'),
                         (base.key, base.status, base.host))
        self.assertLess(200_000, base.size_bytes)
        self.assertEqual(('', claim.id, 'queued', 'b', False), (
            claimed.key, claimed.id, claimed.status, claimed.host,
            claimed.is_old_claim))

    def test_prune(self):
        self.a.obtain(self.need, publishing.IMAGE)
        claim = self.glance.create('claim', self.need.properties('b'))
        tenant = glance_server.server().client('tenant').images

        def prune(*servers):
            """Return how many of this test's bases and claims were removed."""
            return sum(entry.image_id == self.need.image_id for entry in
                       inventory.prune(self.glance, NoServers(*servers)))

        # its image, in whichever state
        tenant.create(id=self.need.image_id, name='image',
                      visibility='private')
        self.assertEqual(0, prune())
        tenant.delete(self.need.image_id)
        # a server
        self.assertEqual(0, prune(self.need.image_id))
        # a snapshot of any project
        for hidden in (False, True):
            snapshot = tenant.create(
                name='snapshot', os_hidden=hidden, visibility='private',
                flexmem_base_image=self.need.image_id)
            self.assertEqual(0, prune())
            tenant.delete(snapshot.id)
        self.assertEqual(1, prune('another'))
        self.assertEqual([claim.id], [entry.id for entry in self.entries()])

    def test_claims_of_builders_that_are_long_dead(self):
        def entry(status, updated_at):
            return inventory.Entry('id', '', 'image', status, 0, 'a', '',
                                   updated_at).is_old_claim

        now = datetime.datetime.now(datetime.UTC)
        for hours, old in ((0, False), (23, False), (25, True),
                           (-100, False)):
            self.assertEqual(old, entry('queued', (
                now - datetime.timedelta(hours=hours)).isoformat()))
        self.assertFalse(entry('active', '2020-01-01T00:00:00Z'))
        self.assertTrue(entry('saving', '2020-01-01T00:00:00Z'))
        self.assertFalse(entry('queued', 'yesterday'))
