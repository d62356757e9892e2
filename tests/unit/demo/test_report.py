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

"""The demo's table, verdict and picture."""

import dataclasses
import os
import tempfile

import testtools

from nova_flexmem.demo import chart
from nova_flexmem.demo import figures
from nova_flexmem.demo import report
from nova_flexmem.demo import workload
from nova_flexmem.host import memory

_MIB = 1 << 20


def _guest(*, ram_mib, cache_mib, multi_user_s):
    return figures.GuestFigures(
        multi_user_s=multi_user_s,
        page_cache_before=workload.PageCache(_MIB, 3 * _MIB),
        page_cache_after=workload.PageCache(int(cache_mib * _MIB), 9 * _MIB),
        reading=workload.Reading(files=900, size_bytes=100 * _MIB,
                                 digest='e3b0', seconds=4.0),
        usage=memory.Usage(ram_bytes=ram_mib * _MIB, qemu_bytes=49 * _MIB,
                           page_tables_bytes=_MIB, swap_bytes=0))


def _stock():
    return figures.KindFigures(
        guests=[_guest(ram_mib=300 + 10 * number, cache_mib=90,
                       multi_user_s=20.0 + number) for number in range(3)],
        shared_bytes=[0, 0, 0], available_lost_bytes=1080 * _MIB)


def _flexmem(cache_mib=1):
    return figures.KindFigures(
        guests=[_guest(ram_mib=155, cache_mib=cache_mib,
                       multi_user_s=10.5)] * 3,
        shared_bytes=[200 * _MIB, 203 * _MIB, 204 * _MIB],
        available_lost_bytes=600 * _MIB)


class ReportTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.rows = {row[0]: row[1:]
                     for row in report.rows(_stock(), _flexmem())}

    def test_every_row_has_all_columns(self):
        for row in report.rows(_stock(), _flexmem()):
            self.assertEqual(len(report.COLUMNS), len(row))

    def test_medians_ranges_and_ratio(self):
        self.assertEqual(
            ('MiB', 310.0, '300.0..320.0', 155.0, '155.0..155.0', 0.5),
            self.rows['private host memory per VM: guest RAM'])
        self.assertEqual(('s', 21.0, '20.0..22.0', 10.5, '10.5..10.5', 0.5),
                         self.rows['power-on to multi-user'])

    def test_shared_memory_counts_once(self):
        self.assertEqual(('MiB', 0, '', 204.0, '', None),
                         self.rows['shared host memory, once: base'])

    def test_marginal_memory_leaves_the_first_guest_aside(self):
        self.assertEqual(
            ('MiB', 365.0, '', 207.0, '', 0.57),
            self.rows['marginal memory per further VM'])

    def test_page_cache_within_the_limit(self):
        self.assertEqual([], report.failures(_flexmem(cache_mib=5)))

    def test_page_cache_beyond_the_limit(self):
        failures = report.failures(_flexmem(cache_mib=5.1))
        self.assertEqual(3, len(failures))
        self.assertIn('FlexMem guest 1 holds 5.1 MiB', failures[0])
        self.assertIn('100.0 MiB', failures[0])


class ChartTest(testtools.TestCase):

    def test_parts_add_up_to_what_the_guests_cost(self):
        kind = _flexmem()
        private = sum(guest.usage.private_bytes for guest in kind.guests[:2])
        self.assertEqual(private / _MIB + 203, sum(chart.parts(kind, 2)))

    def test_picture(self):
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            self.skipTest('matplotlib is not installed')
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'memory.png')
            chart.draw(path, _stock(), _flexmem(), 'Host memory')
            with open(path, 'rb') as f:
                self.assertEqual(b'\x89PNG\r\n\x1a\n', f.read(8))


class PredictionTest(testtools.TestCase):

    def _sentence(self, *estimated_mib):
        stock = _stock()
        guests = [dataclasses.replace(
            guest, estimated_bytes=size and size * _MIB)
            for guest, size in zip(stock.guests, estimated_mib)]
        return report.prediction(
            dataclasses.replace(stock, guests=guests), _flexmem())

    def test_beside_what_was_measured(self):
        sentence = self._sentence(160, 165, 170)
        self.assertIn('predicted from the stock VMs 165 MiB', sentence)
        self.assertIn('155 MiB were then measured (+6%)', sentence)
        self.assertIn('150 MiB', self._sentence(150, None, None))
        self.assertIn('(-3%)', self._sentence(150, None, None))

    def test_without_an_estimate(self):
        self.assertEqual('', self._sentence(None, None, None))


class GainTest(testtools.TestCase):

    def kinds(self, stock_mib, flexmem_mib, base_mib, guests=3):
        """Return figures in which each guest of a kind takes as much."""
        return (figures.KindFigures(
            guests=[_guest(ram_mib=stock_mib - 49, cache_mib=90,
                           multi_user_s=20.0)] * guests,
            shared_bytes=[0] * guests, available_lost_bytes=0),
            figures.KindFigures(
                guests=[_guest(ram_mib=flexmem_mib - 49, cache_mib=1,
                               multi_user_s=10.0)] * guests,
                shared_bytes=[base_mib * _MIB] * guests,
                available_lost_bytes=0))

    def test_share_and_number_of_guests(self):
        for base_mib, words in ((90, 'from 1 VM on'), (100, 'from 2 VMs on'),
                                (250, 'from 3 VMs on'),
                                (300, 'from 4 VMs on')):
            stock, flexmem = self.kinds(200, 100, base_mib)
            sentence = report.gain(stock, flexmem)
            self.assertIn(words, sentence, base_mib)
            self.assertIn('saves 50% of the memory', sentence)
            # it counts as the guests themselves do
            number = int(words.split()[1])
            for count in (number - 1, number):
                self.assertEqual(
                    count == number,
                    base_mib + 100 * count < 200 * count, base_mib)

    def test_nothing(self):
        self.assertIn('saves no memory',
                      report.gain(*self.kinds(100, 100, 50)))

    def test_one_guest(self):
        self.assertIn('saves 50%', report.gain(
            *self.kinds(200, 100, 50, guests=1)))
