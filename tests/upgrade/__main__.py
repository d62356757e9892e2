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

"""Run the upgrade tests, and show what they found as a table.

    python -m tests.upgrade [REGEX]
"""

import json
import os
import subprocess
import sys
import tempfile

from tests.upgrade import figures

_HERE = os.path.dirname(__file__)


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'figures')
        open(path, 'w').close()
        returncode = subprocess.run(
            [sys.executable, '-m', 'stestr', '--repo-url', folder,
             '--test-path', _HERE, 'run', '--serial', *sys.argv[1:]],
            env=os.environ | {figures.VARIABLE: path,
                              'PYTHON': sys.executable},
            check=False).returncode
        with open(path) as f:
            print(figures.table([json.loads(line) for line in f]))
    return returncode


if __name__ == '__main__':
    sys.exit(main())
