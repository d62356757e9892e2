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

"""Claims of several hosts, in a real Glance."""

import io
import os
import queue
import threading
import time
import uuid

import fixtures
import testtools

from nova_flexmem import exception
from nova_flexmem.publish import claims
from nova_flexmem.publish import glance as glance_module
from nova_flexmem.publish import publication
from tests import glance_server

SERVICE = 'service-project'

#: Seconds; those of nova-compute are longer.
EXPIRY_S, BEAT_S, POLL_S = 3, 0.5, 0.1


class GlanceTestCase(testtools.TestCase):
    """Has a real Glance, and a need that no other test has."""

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.glance = self.glance_of(SERVICE)
        self.need = publication.Need(str(uuid.uuid4()), 'a' * 128, 'auto', '')
        self.addCleanup(self.remove_all)

    def glance_of(self, project_id, role='admin'):
        return glance_module.Glance(
            glance_server.server().client(project_id, role), project_id)

    def remove_all(self):
        for image in self.images():
            self.glance.delete(image.id)

    def images(self):
        """Return what Glance has of the need, of the service project."""
        return self.glance.list(**{publication.NEED: self.need.name})

    def claims(self, host, **times):
        # a client of its own, as another host has
        return claims.Claims(self.glance_of(SERVICE), host, upload_s=60, **{
            'expiry_s': EXPIRY_S, 'beat_s': BEAT_S, 'poll_s': POLL_S} | times)

    def file(self, content):
        path = os.path.join(self.folder, uuid.uuid4().hex)
        with open(path, 'xb') as f:
            f.write(content)
        return path

    def publish(self, claim, content=b'data'):
        with claim:
            claim.publish({publication.MANIFEST: '{}'}, self.file(content))


class ClaimsTest(GlanceTestCase):

    def test_one_host(self):
        published, claim = self.claims('a').turn(self.need, 10)
        self.assertEqual([], published)
        self.publish(claim)
        [image], claim = self.claims('b').turn(self.need, 10)
        self.assertIsNone(claim)
        self.assertEqual('a', image.properties[publication.HOST])
        self.assertEqual(4, image.size_bytes)

    def test_of_eight_at_once_one_builds(self):
        """They begin at the same time; the others get what it publishes."""
        barrier = threading.Barrier(8)
        built, found, failed = [], [], []

        def host(name):
            try:
                own = self.claims(name)
                barrier.wait(60)
                published, claim = own.turn(self.need, 120)
                if claim is None:
                    found.append(published[0].properties[publication.HOST])
                    return
                with claim:
                    built.append(name)
                    time.sleep(2 * BEAT_S)
                    claim.publish({publication.MANIFEST: '{}'},
                                  self.file(name.encode()))
            except Exception as e:
                failed.append(e)

        hosts = [threading.Thread(target=host, args=(f'host{number}',),
                                  daemon=True) for number in range(8)]
        for each in hosts:
            each.start()
        for each in hosts:
            each.join(180)
        self.assertEqual([], failed)
        self.assertEqual(1, len(built), built)
        self.assertEqual(7 * built, found)
        self.assertEqual(1, len(self.images()))

    def test_a_claim_is_kept_alive(self):
        """A build may take much longer than a claim lives without a beat."""
        _published, claim = self.claims('a').turn(self.need, 10)
        with claim:
            self.assertRaises(exception.PublishFailed, self.claims('b').turn,
                              self.need, 2 * EXPIRY_S)
            [image] = self.images()
            self.assertEqual(claim.image_id, image.id)

    def test_a_build_that_fails_lets_another_host_build(self):
        _published, claim = self.claims('a').turn(self.need, 10)
        with testtools.ExpectedException(ValueError):
            with claim:
                raise ValueError
        self.assertEqual([], self.images())
        _published, claim = self.claims('b').turn(self.need, 1)
        self.assertIsNotNone(claim)

    def test_a_dead_builder(self):
        """Its claim has no beat, whatever step it died at."""
        for properties in ({}, {publication.TICKET: 'x' * 255},
                           {publication.TICKET: '1', publication.BEAT: '7',
                            publication.MANIFEST: '{}'}):
            dead = self.glance.create('claim', self.need.properties('dead')
                                      | properties)
            begun = time.monotonic()
            _published, claim = self.claims('b').turn(self.need, 60)
            self.assertGreater(time.monotonic() - begun, EXPIRY_S)
            self.assertNotIn(dead.id, [image.id for image in self.images()])
            self.assertIn('dead no longer builds', self.log.output)
            with claim:
                pass

    def test_a_dead_builder_that_several_wait_for(self):
        self.glance.create('claim', self.need.properties('dead'))
        turns = queue.Queue()
        for name in 'bc':
            threading.Thread(target=lambda name=name: turns.put(
                self.claims(name).turn(self.need, 60)), daemon=True).start()
        _published, claim = turns.get(timeout=90)
        self.publish(claim)
        [_image], none = turns.get(timeout=90)
        self.assertIsNone(none)

    def test_of_this_host_before_its_restart(self):
        self.glance.create('claim', self.need.properties('a')
                           | {publication.TICKET: '1'})
        begun = time.monotonic()
        _published, claim = self.claims('a').turn(self.need, 10)
        self.assertLess(time.monotonic() - begun, EXPIRY_S)
        self.assertEqual([claim.image_id],
                         [image.id for image in self.images()])

    def test_a_builder_that_was_taken_for_dead(self):
        """It keeps its base, and does not disturb the host that took over."""
        _published, claim = self.claims('a', beat_s=60).turn(self.need, 10)
        with claim:
            _published, other = self.claims('b').turn(self.need, 60)
            self.publish(other, b'of b')
            self.assertRaises(glance_module.NotThere, claim.publish,
                              {publication.MANIFEST: '{}'}, self.file(b'of a'))
        [image] = self.images()
        self.assertEqual('b', image.properties[publication.HOST])

    def test_clocks_of_hosts_differ(self):
        """Nothing is compared with the time of Glance or another host."""
        self.patch(time, 'time', lambda: 1e9)
        _published, claim = self.claims('a').turn(self.need, 10)
        with claim:
            self.patch(time, 'time', lambda: 4e9)
            self.assertRaises(exception.PublishFailed, self.claims('b').turn,
                              self.need, 2 * EXPIRY_S)

    def test_another_version_of_the_image(self):
        """A Glance id that was used again is another image."""
        self.publish(self.claims('a').turn(self.need, 10)[1])
        other = publication.Need(self.need.image_id, 'b' * 128, 'auto', '')
        _published, claim = self.claims('b').turn(other, 10)
        with claim:
            pass
        gone = publication.Need(self.need.image_id, None, 'auto', '')
        self.assertEqual(1, len(self.claims('b').published(gone)))

    def test_needs_have_names_of_their_own(self):
        image_id = self.need.image_id
        self.assertEqual(4, len({publication.Need(*facts).name for facts in (
            (image_id, None, 'auto', ''), (image_id, None, 'ext4', ''),
            (image_id, None, 'auto', 'p'), (image_id[:-1], None, 'auto', ''))
        }))


class LookAlikesTest(GlanceTestCase):
    """Images of tenants with the very properties of a base or a claim."""

    def add(self, project_id, active, visibility, role='member'):
        client = glance_server.server().client(project_id, role)
        made = client.images.create(
            name='flexmem base', disk_format='raw', visibility=visibility,
            container_format='bare', **self.need.properties('evil'),
            **{publication.TICKET: '0', publication.MANIFEST: '{}',
               publication.KEY: '0' * 32})
        self.addCleanup(glance_server.server().client(
            project_id).images.delete, made.id)
        if active:
            client.images.upload(made.id, io.BytesIO(b'evil'))
        return client, made.id

    def test_they_change_nothing(self):
        for active in (True, False):
            for visibility in ('private', 'shared', 'community', 'public'):
                self.add('tenant', active, visibility,
                         'admin' if visibility == 'public' else 'member')
            client, shared = self.add('tenant', active, 'shared', 'admin')
            client.image_members.create(shared, SERVICE)
            glance_server.server().client(SERVICE).image_members.update(
                shared, SERVICE, 'accepted')
        for role in ('admin', 'reader'):
            own = claims.Claims(self.glance_of(SERVICE, role), 'a', 60)
            self.assertEqual([], own.published(self.need))
        begun = time.monotonic()
        published, claim = self.claims('a').turn(self.need, 10)
        self.assertEqual([], published)
        # it did not wait for anybody
        self.assertLess(time.monotonic() - begun, EXPIRY_S)
        with claim:
            pass

    def test_a_tenant_cannot_make_images_of_the_project(self):
        client = glance_server.server().client('tenant', 'member')
        self.assertRaises(glance_module.exc.HTTPForbidden,
                          client.images.create, name='x', owner=SERVICE)

    def test_what_the_project_shows_to_others_is_not_taken(self):
        self.publish(self.claims('a').turn(self.need, 10)[1])
        [image] = self.images()
        glance_server.server().client(SERVICE).images.update(
            image.id, visibility='public')
        self.assertEqual([], self.claims('b').published(self.need))
        self.glance.delete(image.id)


class GlanceTest(GlanceTestCase):

    def test_download(self):
        image = self.glance.create('x', {})
        self.addCleanup(self.glance.delete, image.id)
        content = os.urandom(1 << 20)
        self.glance.upload(image.id, self.file(content))
        path = os.path.join(self.folder, 'downloaded')
        self.glance.download(image.id, path, 1 << 20)
        with open(path, 'rb') as f:
            self.assertEqual(content, f.read())
        e = self.assertRaises(exception.PublishFailed, self.glance.download,
                              image.id, f'{path}.2', (1 << 20) - 1)
        self.assertIn('more than 1048575 bytes', str(e))

    def test_data_that_glance_lost(self):
        """What comes is not what was uploaded; Glance has the digest."""
        stored = os.path.join(glance_server.server().folder, 'images')
        for damage in (lambda path: os.truncate(path, 7),
                       lambda path: self._overwrite(path)):
            image = self.glance.create('x', {})
            self.addCleanup(self.glance.delete, image.id)
            self.glance.upload(image.id, self.file(b'0123456789'))
            damage(os.path.join(stored, image.id))
            self.assertRaises(
                exception.PublishFailed, self.glance.download, image.id,
                os.path.join(self.folder, image.id), 100)

    def _overwrite(self, path):
        with open(path, 'r+b') as f:
            f.write(b'x')

    def test_what_is_gone(self):
        image_id = str(uuid.uuid4())
        self.glance.delete(image_id)
        self.assertFalse(self.glance.exists(image_id))
        self.assertRaises(glance_module.NotThere, self.glance.update,
                          image_id, {'a': 'b'})
        self.assertRaises(glance_module.NotThere, self.glance.upload,
                          image_id, self.file(b''))

    def test_glance_is_gone(self):
        client = glance_server.server().client(SERVICE)
        self.patch(client.images.http_client, 'endpoint_override',
                   'http://127.0.0.1:1')
        gone = glance_module.Glance(client, SERVICE)
        for call in (gone.list, lambda: gone.create('x', {}),
                     lambda: gone.delete('x'), lambda: gone.exists('x')):
            e = self.assertRaises(exception.PublishFailed, call)
            self.assertIn('Glance', str(e))
            self.assertFalse(isinstance(e, glance_module.NotThere))
