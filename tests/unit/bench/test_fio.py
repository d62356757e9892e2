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

import os
import shlex

import testtools

from nova_flexmem.bench import fio
from nova_flexmem.bench import imagefiles
from nova_flexmem import exception

#: What fio 3.33 printed in a guest for the first of the jobs.
_ANSWER = os.path.join(os.path.dirname(__file__), 'golden',
                       'fio-randread.json')


class FioTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        with open(_ANSWER, encoding='ascii') as f:
            self.answer = f.read()

    def _job(self, name):
        job, = (job for job in fio.HOST_COLD + fio.HOST_WARM
                if job.name == name)
        return job

    def test_latencies(self):
        values = self._job('first touch of a mapped page, host cold').values(
            f'fio: a message\n{self.answer}\nanother one\n')
        self.assertEqual(
            {', median': 39.168, ', 99 %': 276.48, ', mean': 48.635964932},
            {name.removeprefix('first touch of a mapped page, host cold'):
             value for (name, unit), value in values.items()
             if unit == 'us'})

    def test_speeds_are_of_the_time_that_reads_took(self):
        """5304 reads, 49.578 us each, of 4 KiB."""
        rate, = self._job('random 4 KiB read, host warm').values(
            self.answer).values()
        self.assertAlmostEqual(20170.1, rate, 1)
        speed, = self._job('sequential read, host warm').values(
            self.answer).values()
        self.assertAlmostEqual(20170.1 / 256, speed, 1)

    def test_no_answer(self):
        job = self._job('sequential read, host cold')
        for output in ('', 'loader: not found', '{}', '{"jobs": [{}]}',
                       self.answer.replace('"error" : 0', '"error" : 5'),
                       self.answer.replace('"total_ios" : 5304',
                                           '"total_ios" : 0')):
            error = self.assertRaises(exception.BenchFailed, job.values,
                                      output)
            self.assertIn('sequential read, host cold', str(error))

    def test_a_job_that_writes_is_not_one_that_read(self):
        self.assertRaises(
            exception.BenchFailed,
            self._job('sequential write and fsync').values, self.answer)

    def test_first_accesses_have_files_of_their_own(self):
        first = [job.set for job in fio.HOST_COLD + fio.HOST_WARM if job.drop]
        self.assertEqual(sorted(set(first)), sorted(first))
        self.assertEqual(list(range(fio.SETS)), sorted(first))

    def test_command(self):
        files = imagefiles.Files(tuple((f'/usr/{number}', '/usr/x')
                                       for number in range(fio.SETS)),
                                 '/usr/changed', 1)
        for job in fio.HOST_COLD + fio.HOST_WARM:
            words = shlex.split(job.command('the fio', files))
            self.assertEqual(['the', 'fio'], words[:2])
            if job.set is None:
                self.assertIn('--filename=/var/tmp/flexmem-fio', words)
            else:
                self.assertIn(f'--filename=/usr/{job.set}:/usr/x', words)
                self.assertIn('--readonly', words)
