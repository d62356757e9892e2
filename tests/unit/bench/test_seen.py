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

from nova_flexmem.bench import pagetypes
from nova_flexmem.bench import seen

MIB = 1 << 20


def _sample(kind, count, ksm='off', ram_mib=100, cache=None,
            estimated_mib=None):
    types = {}
    if cache:
        types = {name: pagetypes.Part(0, 0) for name in pagetypes.TYPES}
        types['page cache'] = pagetypes.Part(*(each * MIB for each in cache))
    return seen.Sample(kind, ksm, count, ram=count * ram_mib * MIB,
                       qemu=count * 10 * MIB, translated=count * 6 * MIB,
                       ksm_pages=5 * MIB, base_mapped=0, page_structs=0,
                       types=types,
                       estimated=estimated_mib and estimated_mib * MIB)


class FiguresTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        samples = [_sample(kind, count, ram_mib=ram_mib)
                   for kind, ram_mib in (('stock', 300), ('flexmem', 100))
                   for count in (1, 2)]
        samples += [_sample('stock', 3, ram_mib=300, cache=(60, 0),
                            estimated_mib=310),
                    _sample('stock', 3, 'always', 200, cache=(20, 40)),
                    _sample('flexmem', 3, ram_mib=100, cache=(6, 0)),
                    _sample('flexmem', 3, 'always', 90, cache=(5, 1)),
                    _sample('flexmem', 3, 'once', 95, cache=(6, 0))]
        scans = [seen.Scan('stock', 'always', 3, 50.0, 20.0, 600.0),
                 seen.Scan('flexmem', 'once', 3, 9.0, 2.0, 0.0)]
        self.figures = {
            figure.name: figure for figure in seen.figures(
                seen.Seen(samples, scans, [], {'stock': [40.0]}),
                (3,))}

    def _samples(self, name):
        return self.figures[name].samples

    def test_explained(self):
        before, after = (_sample('flexmem', 2, way, cache=(1, 0))
                         for way in ('off', 'once'))
        for sample, private in ((before, 60), (after, 40)):
            sample.explained = {'slab': pagetypes.Part(private * MIB, MIB)}
        figures = {figure.name: figure for figure in seen.figures(
            seen.Seen([before, after], [], [], {}), (2,))}
        self.assertEqual({'flexmem': [30], 'flexmem + KSM once': [20]},
                         figures['2 VMs, one of them: slab'].samples)
        self.assertEqual(60 * MIB, before.row()['explained: slab, private'])
        self.assertFalse([name for name in self.figures if 'one of' in name])

    def test_slopes(self):
        slopes = self._samples('guest RAM per further VM (slope)')
        self.assertAlmostEqual(300, slopes['stock'][0])
        self.assertAlmostEqual(100, slopes['flexmem'][0])
        with_qemu = self._samples(
            "guest RAM and QEMU's own per further VM (slope)")
        self.assertAlmostEqual(110, with_qemu['flexmem'][0])
        without_code = self._samples(
            "guest RAM and QEMU's own, no translated code, per further VM"
            ' (slope)')
        self.assertAlmostEqual(104, without_code['flexmem'][0])

    def test_estimate_beside_what_was_measured(self):
        name = ('{} VMs: guest RAM with FlexMem, estimated from stock VMs and'
                ' then measured')
        self.assertEqual({'stock': [310], 'flexmem': [300]},
                         self._samples(name.format(3)))
        self.assertNotIn(name.format(2), self.figures)

    def test_not_reclaimable(self):
        self.assertEqual(
            {'stock': [935], 'stock + KSM': [635], 'flexmem': [335],
             'flexmem + KSM': [305], 'flexmem + KSM once': [320]},
            self._samples('3 VMs: not reclaimable'))

    def test_page_cache(self):
        self.assertEqual(
            {'stock': [60], 'stock + KSM': [20], 'flexmem': [6],
             'flexmem + KSM': [5], 'flexmem + KSM once': [6]},
            self._samples('3 VMs: guest page cache, private'))
        self.assertEqual(
            {'stock': [40], 'flexmem': [1]},
            self._samples(
                '3 VMs: guest page cache that KSM finds redundant'))

    def test_scans(self):
        self.assertEqual(
            {'stock + KSM': [600.0], 'flexmem + KSM once': [0.0]},
            self._samples("3 VMs: ksmd's processor time in each hour after"))
