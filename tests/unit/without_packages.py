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


"""Runs Python programs in an environment that lacks some packages."""

import subprocess
import sys

_BLOCK = '''
import sys

class _Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in PACKAGES:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)

sys.meta_path.insert(0, _Missing())
'''


def run(packages, program, *args):
    """Run a program; returns its subprocess.CompletedProcess, with text.

    :param packages: names of those that it cannot import
    :param program: its source; sys is imported
    """
    return subprocess.run(
        [sys.executable, '-c',
         _BLOCK.replace('PACKAGES', repr(tuple(packages))) + program, *args],
        capture_output=True, text=True, timeout=120)
