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

"""bench density --fit, as far as one guest in each of its ways."""

from nova_flexmem.bench import fit
from nova_flexmem.demo import kinds
from tests.functional import harness
from tests.functional import test_guests


class FitTest(test_guests.LayersTestCase):
    """Of the image that other tests have a base of, too."""

    layout = 'ext4'

    def test_one_guest_in_each_way(self):
        harness.take_ksm(self)
        steps = []
        found = fit.run(
            kinds.Image(self.image, 'qcow2',
                        self.base.manifest.image_virtual_size_bytes,
                        self.boot),
            fit.Options(size_bytes=1 << 30, most=1), self.folder,
            steps.append)
        [figure] = found.figures
        self.assertEqual('VMs in 1 GiB', figure.name)
        self.assertEqual(
            dict.fromkeys(('stock', 'stock + KSM', 'flexmem'), [1]),
            figure.samples)
        self.assertIn('stock + KSM: starting 1 within the limit', steps)
