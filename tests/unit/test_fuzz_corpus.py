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

"""What the fuzz targets begin with, and what ended them once, again."""

import os
import time
import tracemalloc

import testtools

from tests.fuzz import __main__ as fuzz
from tests.fuzz import targets

#: For one input. They take milliseconds, and up to the 32 MiB of a module.
_LIMIT_S = 10
_LIMIT_BYTES = 160 << 20


class CorpusTest(testtools.TestCase):

    def _replay(self, name):
        target = targets.load(name)
        folder = os.path.join(fuzz.CORPUS, name)
        for file in sorted(os.listdir(folder)):
            with open(os.path.join(folder, file), 'rb') as f:
                data = f.read()
            began_s = time.process_time()
            tracemalloc.start()
            try:
                target(data)
                _now, peak_bytes = tracemalloc.get_traced_memory()
            except Exception as e:
                raise AssertionError(f'{name}/{file}: {e!r}') from e
            finally:
                tracemalloc.stop()
            self.assertLess(time.process_time() - began_s, _LIMIT_S, file)
            self.assertLess(peak_bytes, _LIMIT_BYTES, file)

    def test_every_target_has_inputs(self):
        self.assertEqual(sorted(targets.MODULES),
                         sorted(os.listdir(fuzz.CORPUS)))


def _test(name):
    return lambda self: self._replay(name)


for _name in targets.MODULES:
    setattr(CorpusTest, f'test_{_name}', _test(_name))
