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

import types

from nova import exception as nova_exception
from nova import objects
import testtools

from nova_flexmem import exception
from nova_flexmem.virt import layered
from tests.unit.virt import test_record

SNAPSHOT = 'the-snapshot'
BASE = '7d1a3c58-92e4-4b60-a1f3-5c08d2e9b716'


class Images:
    """The images that somebody can see, of SNAPSHOT and BASE."""

    def __init__(self, the_snapshot=None, the_base_image=None):
        self._images = {SNAPSHOT: the_snapshot, BASE: the_base_image}
        self.asked_for = []

    def get(self, context, image_id):
        self.asked_for.append(image_id)
        found = self._images.get(image_id)
        if found is None:
            raise nova_exception.ImageNotFound(image_id=image_id)
        return found


def image(status='active', **properties):
    return {'status': status, 'properties': properties}


class LinkTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.snapshot = image(**layered.properties(test_record.RECORD) | {
            layered.BASE_IMAGE: BASE})
        self.meta = objects.ImageMeta.from_dict({
            'id': SNAPSHOT, 'properties': self.snapshot['properties']})

    def link(self, images, vm_state='building', asking='tenant',
             **system_metadata):
        instance = types.SimpleNamespace(system_metadata=system_metadata,
                                         vm_state=vm_state,
                                         project_id='tenant')
        return layered.link(types.SimpleNamespace(project_id=asking), images,
                            instance, self.meta)

    def test_an_ordinary_image_is_not_even_looked_at(self):
        self.meta = objects.ImageMeta.from_dict({'id': SNAPSHOT})
        self.assertIsNone(self.link(None))

    def test_a_volume_with_the_properties_of_one_is_none(self):
        # Nova makes this of a volume's metadata: it has no id
        self.meta = objects.ImageMeta.from_dict(
            {'properties': self.snapshot['properties']})
        self.assertIsNone(self.link(None, **{
            f'image_{layered.BASE_IMAGE}': BASE}))

    def test_the_trait_alone_makes_no_snapshot(self):
        self.assertIsNone(self.link(Images(the_snapshot=image())))

    def test_a_snapshot(self):
        link = self.link(Images(the_snapshot=self.snapshot,
                                the_base_image=image()))
        self.assertEqual(BASE, link.wanted.image_id)
        self.assertEqual('2' * 64, link.wanted.image_sha256)
        self.assertEqual(['/var/lib/docker'], link.direct_paths)
        self.assertEqual('ext4', link.wanted.rootfs)
        self.assertTrue(link.visible)

    def test_one_of_before_the_root_filesystem_was_noted(self):
        del self.snapshot['properties'][layered.ROOTFS]
        self.assertIsNone(self.link(Images(
            the_snapshot=self.snapshot, the_base_image=image())).wanted.rootfs)

    def test_the_layout(self):
        images = Images(the_snapshot=self.snapshot, the_base_image=image())
        record = test_record.RECORD
        wanted = self.link(images).wanted
        self.assertEqual((record.base_key, record.root_sha256),
                         (wanted.base_key, wanted.layout))
        self.assertEqual(layered.Wanted.of(record).layout, wanted.layout)

    def test_one_that_says_nothing_usable_of_its_layout(self):
        """As those of versions that knew none; or what a tenant wrote."""
        images = Images(the_snapshot=self.snapshot, the_base_image=image())
        for name, value in ((layered.LAYOUT, None), (layered.BASE_KEY, None),
                            (layered.LAYOUT, 'x' * 64),
                            (layered.BASE_KEY, '../../etc/passwd'),
                            (layered.BASE_KEY, '')):
            properties = dict(self.snapshot['properties'])
            self.snapshot['properties'] = properties | {name: value}
            if value is None:
                del self.snapshot['properties'][name]
            wanted = self.link(images).wanted
            self.assertEqual((None, None), (wanted.base_key, wanted.layout))
            self.snapshot['properties'] = properties

    def test_one_that_names_another_root_filesystem(self):
        for name in ('xfs', 'auto', '', '../ext4'):
            self.snapshot['properties'][layered.ROOTFS] = name
            e = self.assertRaises(
                exception.ImageRefused, self.link, Images(
                    the_snapshot=self.snapshot, the_base_image=image()))
            self.assertIn(f'{layered.ROOTFS} is {name!r}', str(e))

    def test_one_that_names_somebody_elses_image_opens_nothing(self):
        images = Images(the_snapshot=self.snapshot)
        e = self.assertRaises(exception.ImageRefused, self.link, images)
        self.assertIn('does not exist or is not yours', str(e))
        # what a tenant can have put into the metadata of the instance
        self.assertRaises(
            exception.ImageRefused, self.link, images, 'shelved_offloaded',
            image_base_image_ref=BASE, image_flexmem_base_image=BASE)
        # nor for another image than the one it was made from
        self.assertRaises(
            exception.ImageRefused, self.link, images, 'shelved_offloaded',
            flexmem_base_image='another')
        # nor for an instance that starts for the first time
        self.assertRaises(exception.ImageRefused, self.link, images,
                          flexmem_base_image=BASE)

    def test_one_that_an_administrator_starts(self):
        """For evacuated ones, and with access to everybody's images."""
        images = Images(the_snapshot=self.snapshot, the_base_image=image())
        for state in ('active', 'shelved_offloaded'):
            for made_from in ({}, {layered.SYSTEM_KEY: 'another'}):
                e = self.assertRaises(
                    exception.ImageRefused, self.link, images, state,
                    asking='admin', **made_from)
                self.assertIn('not yours', str(e))
            self.assertTrue(self.link(images, state, asking='admin', **{
                layered.SYSTEM_KEY: BASE}).visible)

    def test_one_that_names_an_address_makes_no_request(self):
        """Nova would send the user's token to the address."""
        for base in (f'http://evil.example:9292/v2/images/{BASE}',
                     f'//evil.example/{BASE}', f'../../v3/{BASE}', '', 'x',
                     f'{BASE}\n', f'urn:uuid:{BASE}', f'{{{BASE}}}',
                     BASE.replace('-', '')):
            self.snapshot['properties'][layered.BASE_IMAGE] = base
            images = Images(the_snapshot=self.snapshot)
            for state in ('building', 'shelved_offloaded'):
                e = self.assertRaises(exception.ImageRefused, self.link,
                                      images, state, flexmem_base_image=base)
                self.assertIn('no Glance id', str(e))
            self.assertEqual({SNAPSHOT}, set(images.asked_for))

    def test_a_shelved_instance_comes_back_without_its_image(self):
        link = self.link(Images(the_snapshot=self.snapshot),
                         'shelved_offloaded', flexmem_base_image=BASE)
        self.assertFalse(link.visible)

    def test_an_image_that_is_deleted_or_deactivated_is_not_visible(self):
        self.assertRaises(
            exception.ImageRefused, self.link, Images(
                the_snapshot=self.snapshot,
                the_base_image=image('deactivated')))


class CheckTest(testtools.TestCase):

    def check(self, images, **changes):
        fields = {**vars(test_record.RECORD), 'image_id': BASE, **changes}
        layered.check(None, images, type(test_record.RECORD)(**fields))

    def test_what_could_not_boot_is_not_taken(self):
        self.check(Images(the_base_image=image()))
        e = self.assertRaises(exception.InstanceRefused, self.check, Images())
        self.assertIn(BASE, str(e))

    def test_there_is_nothing_to_take_of_memory(self):
        e = self.assertRaises(exception.InstanceRefused, self.check,
                              Images(the_base_image=image()),
                              writes='memory')
        self.assertIn('memory', str(e))
