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

import testtools

from nova_flexmem import exception
from nova_flexmem.virt import policy

#: flavor, image, host default -> what the instance gets
POLICIES = [
    (None, None, 'disabled', 'disabled'),
    (None, None, 'preferred', 'preferred'),
    (None, None, 'required', 'required'),
    ('required', None, 'disabled', 'required'),
    ('disabled', None, 'required', 'disabled'),
    ('preferred', None, 'disabled', 'preferred'),
    (None, 'required', 'disabled', 'required'),
    (None, 'disabled', 'required', 'disabled'),
    (None, 'preferred', 'disabled', 'preferred'),
    ('required', 'required', 'disabled', 'required'),
    ('required', 'preferred', 'disabled', 'required'),
    ('preferred', 'required', 'disabled', 'required'),
    ('preferred', 'preferred', 'disabled', 'preferred'),
    ('preferred', 'disabled', 'required', 'disabled'),
    ('disabled', 'preferred', 'required', 'disabled'),
    ('disabled', 'disabled', 'required', 'disabled'),
]


#: The same where an image may only narrow; None: refused.
NARROWED = [
    (None, None, 'disabled', 'disabled'),
    (None, None, 'preferred', 'preferred'),
    (None, None, 'required', 'required'),
    (None, 'required', 'disabled', None),
    (None, 'preferred', 'disabled', 'disabled'),
    (None, 'disabled', 'disabled', 'disabled'),
    (None, 'required', 'preferred', 'required'),
    (None, 'preferred', 'preferred', 'preferred'),
    (None, 'disabled', 'preferred', 'disabled'),
    (None, 'required', 'required', 'required'),
    (None, 'preferred', 'required', 'required'),
    (None, 'disabled', 'required', 'disabled'),
    ('preferred', 'required', 'disabled', 'required'),
    ('preferred', 'preferred', 'disabled', 'preferred'),
    ('preferred', 'disabled', 'disabled', 'disabled'),
    ('required', 'preferred', 'disabled', 'required'),
    ('required', 'required', 'disabled', 'required'),
    ('required', 'disabled', 'required', None),
    ('disabled', 'required', 'required', None),
    ('disabled', 'preferred', 'required', 'disabled'),
    ('disabled', 'disabled', 'required', 'disabled'),
]


def asked(specs, properties, default_policy='disabled',
          default_writes='disk', image_policy='allow'):
    return policy.asked(specs, properties, default_policy=default_policy,
                        default_writes=default_writes,
                        image_policy=image_policy)


class AskedTest(testtools.TestCase):

    def test_policy(self):
        for flavor, image, default, wanted in POLICIES:
            specs = {'flexmem:policy': flavor} if flavor else {}
            properties = {'flexmem_policy': image} if image else {}
            self.assertEqual(
                wanted, asked(specs, properties, default).policy,
                (flavor, image, default))

    def test_images_that_may_only_narrow(self):
        for flavor, image, default, wanted in NARROWED:
            specs = {'flexmem:policy': flavor} if flavor else {}
            properties = {'flexmem_policy': image} if image else {}
            try:
                found = asked(specs, properties, default,
                              image_policy='narrow').policy
            except exception.PolicyConflict:
                found = None
            self.assertEqual(wanted, found, (flavor, image, default))

    def test_an_image_that_requires_what_is_not_offered(self):
        e = self.assertRaises(
            exception.PolicyConflict, asked, {},
            {'flexmem_policy': 'required'}, image_policy='narrow')
        self.assertEqual(
            'the image requires it (flexmem_policy), but the flavor does not'
            ' offer it; use a flavor with flexmem:policy', str(e))

    def test_images_that_are_ignored(self):
        for value in ('required', 'preferred', 'disabled', 'always'):
            properties = {'flexmem_policy': value, 'flexmem_writes': value}
            self.assertEqual(
                policy.Asked('preferred', 'disk'),
                asked({}, properties, 'preferred', image_policy='ignore'))
            self.assertEqual(
                policy.Asked('required', 'memory'),
                asked({'flexmem:policy': 'required',
                       'flexmem:writes': 'memory'}, properties,
                      image_policy='ignore'))

    def test_policy_conflicts(self):
        for flavor, image in (('required', 'disabled'),
                              ('disabled', 'required')):
            e = self.assertRaises(
                exception.PolicyConflict, asked, {'flexmem:policy': flavor},
                {'flexmem_policy': image})
            self.assertIn('flexmem:policy and flexmem_policy: disabled and'
                          ' required', str(e))

    def test_writes(self):
        self.assertEqual('disk', asked({}, {}).writes)
        self.assertEqual('memory',
                         asked({}, {}, default_writes='memory').writes)
        self.assertEqual('memory',
                         asked({'flexmem:writes': 'memory'}, {}).writes)
        self.assertEqual('memory',
                         asked({}, {'flexmem_writes': 'memory'}).writes)
        self.assertEqual('disk', asked({'flexmem:writes': 'disk'}, {},
                                       default_writes='memory').writes)
        self.assertEqual('memory', asked({'flexmem:writes': 'memory'},
                                         {'flexmem_writes': 'memory'}).writes)

    def test_writes_conflict(self):
        e = self.assertRaises(
            exception.PolicyConflict, asked, {'flexmem:writes': 'disk'},
            {'flexmem_writes': 'memory'})
        self.assertIn('disk and memory', str(e))

    def test_values_that_are_none(self):
        e = self.assertRaises(exception.PolicyConflict, asked,
                              {}, {'flexmem_policy': 'always'})
        self.assertEqual('flexmem_policy=always is none of required,'
                         ' preferred, disabled; correct the image', str(e))
        e = self.assertRaises(exception.PolicyConflict, asked,
                              {'flexmem:writes': ''}, {})
        self.assertIn('correct the flavor', str(e))


#: What flavor and image say, the option guest_kernels, and what an instance
#: gets where images may narrow it and where they may ask for it.
KERNELS = [
    (None, None, False, 'base', 'base'),
    (None, None, True, 'own', 'own'),
    ('own', None, False, 'own', 'own'),
    ('base', None, True, 'base', 'base'),
    (None, 'own', False, 'base', 'own'),
    (None, 'own', True, 'own', 'own'),
    (None, 'base', True, 'base', 'base'),
    ('own', 'base', True, 'base', 'base'),
    ('own', 'own', False, 'own', 'own'),
    ('base', 'own', True, 'base', 'base'),
]


class KernelTest(testtools.TestCase):

    def asked(self, flavor, image, guest_kernels, image_policy):
        return policy.asked_kernel(
            {'flexmem:kernel': flavor} if flavor is not None else {},
            {'flexmem_kernel': image} if image is not None else {},
            guest_kernels=guest_kernels, image_policy=image_policy)

    def test_flavor_and_image(self):
        for flavor, image, option, narrowed, allowed in KERNELS:
            said = flavor, image, option
            self.assertEqual(narrowed, self.asked(*said, 'narrow'), said)
            self.assertEqual(allowed, self.asked(*said, 'allow'), said)
            self.assertEqual(self.asked(flavor, None, option, 'narrow'),
                             self.asked(*said, 'ignore'), said)

    def test_values_that_are_none(self):
        for flavor, image, named in (('newest', None, 'flexmem:kernel'),
                                     ('own', 'newest', 'flexmem_kernel')):
            e = self.assertRaises(exception.PolicyConflict, self.asked,
                                  flavor, image, True, 'narrow')
            self.assertIn(f'{named}=newest is none of own, base', str(e))
        self.assertEqual('own', self.asked(None, 'newest', True, 'ignore'))


class LeanTest(testtools.TestCase):

    def without(self, flavor=None, image=None, image_policy='narrow'):
        return policy.without(
            {'flexmem:lean': flavor} if flavor is not None else {},
            {'flexmem_lean': image} if image is not None else {},
            image_policy=image_policy)

    def test_never_by_default(self):
        for image_policy in ('narrow', 'allow', 'ignore'):
            self.assertEqual([], self.without(image_policy=image_policy))

    def test_what_either_names(self):
        for image_policy in ('narrow', 'allow'):
            for said, wanted in (
                    (('video,tracing', None), ['tracing', 'video']),
                    ((None, 'nesting'), ['nesting']),
                    (('video', 'kaslr,video'), ['kaslr', 'video'])):
                self.assertEqual(wanted, self.without(*said, image_policy))

    def test_images_that_are_ignored(self):
        self.assertEqual(['video'], self.without('video', 'all', 'ignore'))

    def test_values_that_are_none(self):
        for flavor, image, named, owner in (
                ('video', 'all', 'flexmem_lean', 'image'),
                ('', None, 'flexmem:lean', 'flavor')):
            e = self.assertRaises(exception.PolicyConflict, self.without,
                                  flavor, image)
            self.assertIn(named, str(e))
            self.assertIn(f'correct the {owner}', str(e))
