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

"""What Nova's metadata of a domain says of the image."""

import testtools

from nova_flexmem.host import estimate_instances

#: As Nova 34 writes it, shortened; {} is the root.
_METADATA = '''\
<nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1">
  <nova:package version="34.0.0"/>
  <nova:name>server &amp; more</nova:name>
  <nova:flavor name="m1.small" id="2"><nova:memory>512</nova:memory>
  </nova:flavor>
  {}
</nova:instance>
'''
_ID = '1d9a3b4c-0f6e-4f1f-8c37-2a5b7f1e9d10'


class ImageIdTest(testtools.TestCase):

    def _image_id(self, root):
        return estimate_instances.image_id(_METADATA.format(root))

    def test_image(self):
        self.assertEqual(_ID, self._image_id(
            f'<nova:root type="image" uuid="{_ID}"/>'))

    def test_no_image(self):
        for root in ('', '<nova:root type="volume" uuid="x"/>',
                     '<nova:root type="image"/>'):
            self.assertEqual('', self._image_id(root), root)
