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

"""nova-flexmem host estimate, as it is run: tables, and programs' formats."""

import contextlib
import io
import json

import fixtures
import testtools

from nova_flexmem.cmd import host_estimate
from nova_flexmem.cmd import main
from nova_flexmem import exception
from nova_flexmem.host import estimate
from nova_flexmem.host import estimate_instances
from nova_flexmem.host import processes

MIB = 1 << 20

_ID = '1d9a3b4c-0f6e-4f1f-8c37-2a5b7f1e9d10'


def _instance(number, image, of_image_mib, free_mib=None):
    return estimate.InstanceEstimate(
        estimate_instances.Instance(
            processes.Qemu(number, f'instance-{number}', f'uuid-{number}',
                           (512 * MIB,)), image, f'/cache/{image}'),
        ram_bytes=256 * MIB, read_bytes=64 * MIB,
        of_image=estimate.Interval(*(size * MIB for size in of_image_mib)),
        free_bytes=free_mib and free_mib * MIB,
        page_structs_bytes=8 * MIB)


class HostEstimateTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        self.taken = estimate.HostEstimate(
            [estimate.ImageEstimate(_ID, f'/cache/{_ID}', 500 * MIB, 400 * MIB,
                                    [_instance(1, _ID, (100, 97, 104)),
                                     _instance(2, _ID, (140, 136, 143))]),
             estimate.ImageEstimate('/cache/b', '/cache/b', 450 * MIB,
                                    400 * MIB, [
                                        _instance(3, 'b', (60, 60, 60))])],
            400 * MIB, ['instance x was left out: it ended meanwhile'])

    def _measure(self, options, progress):
        self.options = options
        progress('reading image x', 0.5)
        return self.taken

    def _run(self, *words, status=0):
        """Run the command; return its output, and what it says beside it."""
        self.patch(estimate, 'measure', self._measure)
        app = main.FlexMemApp()
        # also where this package was installed before it had the command
        app.command_manager.add_command('host estimate',
                                        host_estimate.Estimate)
        out, err = io.StringIO(), io.StringIO()
        app.stdout, app.stderr = out, err
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            returned = app.run(['host', 'estimate', *words])
        self.assertEqual(status, returned, err.getvalue())
        self.assertNotIn('Traceback', err.getvalue())
        return out.getvalue(), err.getvalue()

    def test_rows_for_programs(self):
        out, _err = self._run('-f', 'json')
        first, one, two, second, three, host = json.loads(out)
        self.assertEqual(
            ['image', 'instance', 'instance', 'image', 'instance', 'host'],
            [row['kind'] for row in json.loads(out)])
        self.assertEqual((_ID, None, None), (first['image'], first['pid'],
                                             first['uuid']))
        self.assertEqual((_ID, 'instance-1', 'uuid-1', 1), (
            one['image'], one['instance'], one['uuid'], one['pid']))
        self.assertEqual((100 * MIB, 97 * MIB, 104 * MIB), (
            one['of_image_bytes'], one['of_image_low_bytes'],
            one['of_image_high_bytes']))
        # the errors of samples are independent: 3 and 4 make 5
        self.assertEqual((240 * MIB, 235 * MIB, 245 * MIB), (
            first['of_image_bytes'], first['of_image_low_bytes'],
            first['of_image_high_bytes']))
        self.assertEqual((256 * MIB, 64 * MIB), (three['ram_bytes'],
                                                 three['read_bytes']))
        for row in (first, one, two, second, three, host):
            self.assertEqual(row['ram_bytes'], row['saved_bytes']
                             + row['with_flexmem_bytes'])
        self.assertEqual(first['saved_bytes'], one['saved_bytes']
                         + two['saved_bytes'])
        self.assertEqual((500 * MIB, 400 * MIB), (
            first['base_at_most_bytes'], first['in_other_images_bytes']))
        self.assertIsNone(one['base_at_most_bytes'])
        self.assertEqual((768 * MIB, 950 * MIB, 400 * MIB), (
            host['ram_bytes'], host['base_at_most_bytes'],
            host['in_other_images_bytes']))

    def test_table(self):
        out, err = self._run()
        lines = [[cell.strip() for cell in line.split('|')[1:-1]]
                 for line in out.splitlines() if line.startswith('|')]
        row = dict(zip(lines[0], lines[2]))
        self.assertEqual(
            ('instance', _ID, 'instance-1', '1', '256', '100', '97..104', ''),
            (row['Kind'], row['Image'], row['Instance'], row['PID'],
             row['RAM MiB'], row['Of the image MiB'], row['95 % interval'],
             row['Base, once, at most MiB']))
        self.assertIn('reading image x', err)
        self.assertIn('instance x was left out: it ended meanwhile\n', err)
        self.assertIn('3 instances would hold', err)
        self.assertIn('instead of 768', err)

    def test_options(self):
        self._run('-f', 'json', '--image-cache', '/srv/_base',
                  '--sample-mib', '1')
        self.assertEqual(('/srv/_base', 256), (self.options.cache,
                                               self.options.sample_pages))
        self._run('-f', 'json')
        self.assertEqual(('/var/lib/nova/instances/_base', 65536), (
            self.options.cache, self.options.sample_pages))
        self.assertEqual(
            self.options.max_virtual_size_bytes,
            128 * 1024 * MIB)
        self.assertRaises(SystemExit, self._run, '--sample-mib', '0')

    def test_no_instances(self):
        self.taken = estimate.HostEstimate([], 0, ['instance y was left out'])
        _out, err = self._run(status=1)
        self.assertIn('instance y was left out\n', err)
        self.assertIn('no instance on this host', err)

    def test_not_allowed(self):
        def refuse(_options, _progress):
            raise exception.EstimateFailed(reason='run this as root')

        self._measure = refuse
        _out, err = self._run('-f', 'json', status=1)
        self.assertIn('run this as root', err)
