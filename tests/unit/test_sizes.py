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

"""A module has one subject; a long one probably has two."""

import os

import testtools

import nova_flexmem

_FOLDER = os.path.dirname(nova_flexmem.__file__)

#: Lines that a module has at most.
LIMIT = 250

#: Longer modules, each with the reason.
LONGER = {
    'conf.py': 'one list of all options, each with its help',
    'virt/driver.py': 'one override for each method of Nova that differs',
}


def _lines():
    """Return {path of a module: its number of lines}."""
    lines = {}
    for folder, _folders, names in os.walk(_FOLDER):
        for name in names:
            if name.endswith('.py'):
                path = os.path.join(folder, name)
                with open(path, encoding='utf-8') as f:
                    lines[os.path.relpath(path, _FOLDER)] = len(f.readlines())
    return lines


class SizesTest(testtools.TestCase):

    def test_no_module_is_longer(self):
        self.assertEqual({}, {path: lines for path, lines in _lines().items()
                              if lines > LIMIT and path not in LONGER})

    def test_exceptions_are_needed(self):
        lines = _lines()
        for path in LONGER:
            self.assertGreater(lines.get(path, 0), LIMIT,
                               f'{path} needs no exception any more')
