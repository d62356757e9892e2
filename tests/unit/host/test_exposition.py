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

"""Metrics, as Prometheus's own parser reads them."""

import os
import tempfile

from prometheus_client import parser
import testtools

from nova_flexmem.host import accounting
from nova_flexmem.host import exposition

_KEY = '0' * 32


def instance(**changes):
    """Return an InstanceMemory, in which no two sizes are the same."""
    return accounting.InstanceMemory(**{
        'pid': 11, 'name': 'instance-1', 'uuid': 'some-uuid', 'base': _KEY,
        'ram_bytes': 5 << 20, 'qemu_bytes': 3 << 20,
        'page_tables_bytes': 4096, 'swap_bytes': 8192,
        'base_mapped_bytes': 7 << 20, 'page_structs_bytes': 1 << 20} | changes)


class ExpositionTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.taken = accounting.HostMemory(
            [accounting.BaseMemory(_KEY, 16 << 20, 9 << 20, [
                instance(base_used_bytes=6 << 20),
                instance(pid=12, uuid='other', guest_cache_bytes=2 << 20,
                         base_used_bytes=6 << 20)])],
            [instance(pid=13, uuid='stock', base=None)])

    def _samples(self, text):
        return {(sample.name, sample.labels.get('uuid')): sample
                for family in parser.text_string_to_metric_families(text)
                for sample in family.samples}

    def test_what_there_is_of_instances(self):
        samples = self._samples(exposition.text(self.taken))
        first = samples['nova_flexmem_instance_guest_ram_bytes', 'some-uuid']
        self.assertEqual(5 << 20, first.value)
        self.assertEqual({'uuid': 'some-uuid', 'name': 'instance-1',
                          'pid': '11', 'base': _KEY}, first.labels)
        stock = samples['nova_flexmem_instance_qemu_bytes', 'stock']
        self.assertEqual('', stock.labels['base'])

    def test_what_is_not_known_is_left_out(self):
        samples = self._samples(exposition.text(self.taken))
        name = 'nova_flexmem_instance_guest_page_cache_bytes'
        self.assertNotIn((name, 'some-uuid'), samples)
        self.assertEqual(2 << 20, samples[name, 'other'].value)

    def test_what_there_is_of_bases(self):
        samples = self._samples(exposition.text(self.taken))
        values = {name.removeprefix('nova_flexmem_base_'): sample.value
                  for (name, uuid), sample in samples.items() if uuid is None}
        self.assertEqual({'resident_bytes': 16 << 20, 'mapped_bytes': 9 << 20,
                          'saved_at_least_bytes': 3 << 20,
                          'saved_at_most_bytes': 5 << 20}, values)

    def test_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'flexmem.prom')
            exposition.write(self.taken, path)
            self.assertEqual(['flexmem.prom'], os.listdir(folder))
            with open(path) as f:
                self.assertEqual(exposition.text(self.taken), f.read())
