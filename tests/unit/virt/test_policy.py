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


def asked(specs, properties, default_policy='disabled',
          default_writes='disk'):
    return policy.asked(specs, properties, default_policy=default_policy,
                        default_writes=default_writes)


class AskedTest(testtools.TestCase):

    def test_policy(self):
        for flavor, image, default, wanted in POLICIES:
            specs = {'flexmem:policy': flavor} if flavor else {}
            properties = {'flexmem_policy': image} if image else {}
            self.assertEqual(
                wanted, asked(specs, properties, default).policy,
                (flavor, image, default))

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
