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

"""The extra specs, as Nova's own API takes them."""

import os
import sys

from nova.api.validation.extra_specs import validators
from nova import exception as nova_exception
from nova import test
from nova.tests import fixtures as nova_fixtures
from nova.tests.functional.api import client

from nova_flexmem.guest import lean
from nova_flexmem.virt import policy
from tests.unit import without_packages

GOOD = ([('flexmem:policy', value) for value in policy.POLICIES] +
        [('flexmem:writes', value) for value in policy.WRITES] +
        [('flexmem:kernel', value) for value in policy.KERNELS] +
        [('flexmem:lean', value) for value in (
            *lean.PARTS, 'video,tracing', 'tracing,kaslr,video,nesting')])

BAD = [('flexmem:policy', value)
       for value in ('', 'Required', 'required ', 'yes', 'true', 'disk')] + [
    ('flexmem:writes', value) for value in ('', 'ram', 'DISK', 'required')] + [
    ('flexmem:kernel', value) for value in ('', 'OWN', 'newest', 'true')] + [
    ('flexmem:lean', value)
    for value in ('', 'true', 'all', 'Video', 'video,', ',video',
                  'video tracing', 'video, tracing', 'xvideo')] + [
    (name, 'required')
    for name in ('flexmem:', 'flexmem:polciy', 'flexmem:policy:x',
                 'flexmem:Policy', 'flexmem:device')]


#: What nova-api does at its start: it reads nova.conf, where it may find this
#: package as a source of options, and takes the validators.
_REGISTER = '''
from nova_flexmem.virt import extra_specs
from nova_flexmem.virt import hook
hook.FlexMemHook().open_source_from_opt_group(None, 'flexmem')
print(sorted(validator.name for validator in extra_specs.register()))
'''


class ValidatorsTest(test.NoDBTestCase):
    """Nova finds the validators by their entry point."""

    def test_good(self):
        for name, value in GOOD:
            validators.validate(name, value)

    def test_bad(self):
        for name, value in BAD:
            self.assertRaises(nova_exception.ValidationError,
                              validators.validate, name, value)

    def test_what_is_allowed_is_said(self):
        e = self.assertRaises(nova_exception.ValidationError,
                              validators.validate, 'flexmem:policy', 'yes')
        for value in policy.POLICIES:
            self.assertIn(value, str(e))

    def test_other_namespaces_are_left_alone(self):
        for name in ('flexmemory:policy', 'my:policy', 'flexmem_policy'):
            validators.validate(name, 'whatever')


class HostOfTheApiTest(test.NoDBTestCase):
    """nova-api's host needs nothing that only nova-compute needs."""

    def test_no_extra_is_needed(self):
        done = without_packages.run(
            ('cliff', 'jinja2', 'libvirt', 'lxml', 'matplotlib', 'numpy',
             'prometheus_client', 'tqdm', 'zstandard'), _REGISTER)
        self.assertEqual(
            (0, "['flexmem:kernel', 'flexmem:lean', 'flexmem:policy',"
                " 'flexmem:writes']\n"),
            (done.returncode, done.stdout), done.stderr)


class ApiTest(test.TestCase):

    def setUp(self):
        super().setUp()
        self.flags(group='wsgi', api_paste_config=os.path.join(
            sys.prefix, 'etc', 'nova', 'api-paste.ini'))
        self.useFixture(nova_fixtures.RealPolicyFixture())
        # that of Nova 31 speaks v2 by default, which has no microversions
        self.api = self.useFixture(nova_fixtures.OSAPIFixture(
            api_version='v2.1')).admin_api
        # the first one that validates extra specs
        self.api.microversion = '2.86'
        self.flavor = self.api.post_flavor({'flavor': {
            'name': 'small', 'id': 'small', 'ram': 512, 'vcpus': 1,
            'disk': 1}})['id']

    def test_good(self):
        specs = {'flexmem:policy': 'required', 'flexmem:writes': 'memory',
                 'flexmem:kernel': 'own', 'flexmem:lean': 'tracing,video',
                 'trait:CUSTOM_FLEXMEM': 'required'}
        self.api.post_extra_spec(self.flavor, {'extra_specs': specs})
        self.assertEqual(specs, self.api.get_extra_specs(self.flavor))

    def test_bad(self):
        for name, value in BAD:
            e = self.assertRaises(
                client.OpenStackApiException, self.api.post_extra_spec,
                self.flavor, {'extra_specs': {name: value}})
            self.assertEqual(400, e.response.status_code, name)
        self.assertEqual({}, self.api.get_extra_specs(self.flavor))
