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

"""The metadefs, loaded by Glance itself and shown by its own API code."""

import json
import os

from glance.api.v2 import metadef_namespaces
from glance.db.sqlalchemy import metadata
from glance.db.sqlalchemy import models_metadef
import jsonschema
import sqlalchemy
import testtools

from nova_flexmem.guest import lean
from nova_flexmem.virt import policy

_PATH = os.path.join(os.path.dirname(__file__), *[os.pardir] * 3, 'etc',
                     'metadefs', 'compute-flexmem.json')


class MetadefsTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        with open(_PATH, encoding='utf-8') as f:
            self.metadefs = json.load(f)

    def test_glance_s_schema(self):
        schema = metadef_namespaces.get_schema().raw()
        jsonschema.Draft4Validator.check_schema(schema)
        # files are loaded whole; in the API associations and properties
        # have calls of their own
        jsonschema.validate(self.metadefs, schema)
        unknown = set(self.metadefs) - set(schema['properties'])
        self.assertEqual(set(), unknown)

    def test_loaded_as_glance_manage_does(self):
        engine = sqlalchemy.create_engine('sqlite://',
                                          poolclass=sqlalchemy.pool.StaticPool)
        self.addCleanup(engine.dispose)
        models_metadef.BASE_DICT.metadata.create_all(engine)
        metadata.db_load_metadefs(engine, os.path.dirname(_PATH))
        with engine.connect() as connection:
            def rows(text):
                return connection.execute(sqlalchemy.text(text)).fetchall()

            self.assertEqual([('OS::Compute::FlexMem', 'public')], rows(
                'SELECT namespace, visibility FROM metadef_namespaces'))
            self.assertEqual(
                [('OS::Glance::Image', 'flexmem_'),
                 ('OS::Nova::Flavor', 'flexmem:')],
                sorted(rows(
                    'SELECT name, prefix FROM metadef_resource_types AS t'
                    ' JOIN metadef_namespace_resource_types AS a'
                    ' ON a.resource_type_id = t.id')))
            loaded = {name: json.loads(schema) for name, schema in rows(
                'SELECT name, json_schema FROM metadef_properties')}
        self.assertEqual(self.metadefs['properties'], loaded)

    def test_names_and_values_are_those_of_the_driver(self):
        prefixes = {association['name']: association['prefix'] for association
                    in self.metadefs['resource_type_associations']}
        properties = self.metadefs['properties']
        for flavor, image, values in (
                (policy.FLAVOR_POLICY, policy.IMAGE_POLICY, policy.POLICIES),
                (policy.FLAVOR_WRITES, policy.IMAGE_WRITES, policy.WRITES),
                (policy.FLAVOR_KERNEL, policy.IMAGE_KERNEL, policy.KERNELS)):
            name = flavor.removeprefix(prefixes['OS::Nova::Flavor'])
            self.assertEqual(
                name, image.removeprefix(prefixes['OS::Glance::Image']))
            self.assertEqual(list(values), properties[name]['enum'])
            self.assertIn(properties[name]['default'], values)
        lists = properties['lean']
        self.assertEqual('lean', policy.FLAVOR_LEAN.partition(':')[2])
        self.assertEqual('flexmem_lean', policy.IMAGE_LEAN)
        for part in lean.PARTS:
            self.assertIn(f'{part}:', lists['description'])
        self.assertEqual(4, len(properties))
