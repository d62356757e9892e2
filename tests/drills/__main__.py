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

"""Run the fault drills, and show what they found as a table.

    python -m tests.drills [--seed SEED] [--points POINTS] [REGEX]

A drill does harm to what builds, keeps or uses bases, and counts what came of
it. The seed is that of the random points, so that a run can be had again.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

_HERE = os.path.dirname(__file__)


def _run(arguments, folder, figures):
    """Run the drills; return stestr's exit code.

    :param folder: for stestr
    :param figures: the file that the drills write theirs to
    """
    return subprocess.run(
        [sys.executable, '-m', 'tests.functional.run', 'stestr', '--repo-url',
         folder, '--test-path', _HERE, 'run', '--serial', *arguments.regex],
        env=os.environ | {
            'PATH': os.path.dirname(sys.executable) + os.pathsep
            + os.environ['PATH'],
            'FLEXMEM_DRILL_FIGURES': figures,
            'FLEXMEM_DRILL_SEED': str(arguments.seed),
            'FLEXMEM_DRILL_POINTS': str(arguments.points)},
        check=False).returncode


def table(lines):
    """Return the figures of drills, lines of JSON, as text."""
    rows = []
    for line in lines:
        found = json.loads(line)
        rows.append((found['drill'], ', '.join(
            f'{name.replace("_", " ")} {value}'
            for name, value in found['figures'].items())))
    width = max((len(drill) for drill, _figures in rows), default=0)
    return '\n'.join(f'{drill:{width}}  {figures}' for drill, figures in rows)


def main():
    parser = argparse.ArgumentParser(
        prog='python -m tests.drills',
        description='Run the fault drills, and show what they found.')
    parser.add_argument('--seed', type=int,
                        default=random.randrange(10 ** 6),
                        help='of the random points; default: another each'
                             ' time')
    parser.add_argument('--points', type=int, default=50,
                        help='how many random points there are to a drill'
                             ' that takes them; default: %(default)s')
    parser.add_argument('regex', nargs='*', metavar='REGEX',
                        help='which drills; default: all')
    arguments = parser.parse_args()
    print(f'seed {arguments.seed}', flush=True)
    with tempfile.TemporaryDirectory() as folder:
        figures = os.path.join(folder, 'figures')
        open(figures, 'w').close()
        returncode = _run(arguments, folder, figures)
        with open(figures) as f:
            print(table(f))
    return returncode


if __name__ == '__main__':
    sys.exit(main())
