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

"""Run the tests with other releases of Nova, and show a table of the results.

    python -m tests.releases [SERIES...]

Each series gets a Python environment of its own, in .releases, with the upper
constraints that OpenStack publishes for it. CONSTRAINTS names another place of
them, with {series} in it, for example /srv/constraints/{series}.txt.
"""

import dataclasses
import datetime
import os
import re
import subprocess
import sys
import time

_CONSTRAINTS = 'https://releases.openstack.org/constraints/upper/{series}'
_FOLDER = '.releases'

#: What the tests need beside Nova; what the cloud of tools/cloud needs is not
#: among it.
_PACKAGES = ('ddt', 'fixtures', 'oslotest', 'requests-mock', 'stestr',
             'tempest', 'testtools', 'wsgi-intercept')

#: Suites: the folder of the tests, and which of them.
_SUITES = {'unit': ('unit', 'tests.unit'),
           'inertness': ('unit', 'tests.unit.virt.test_inert'),
           'lifecycle': ('lifecycle', 'tests.lifecycle')}


@dataclasses.dataclass(frozen=True)
class Series:
    """A series of OpenStack, and what is installed of it.

    Upper constraints do not name the services.
    """

    nova: str
    placement: str
    glance: str


SERIES = {'2025.1': Series('31.3.1', '13.0.1', '30.*'),
          '2025.2': Series('32.2.1', '14.0.0', '31.*'),
          '2026.1': Series('33.0.2', '15.0.0', '32.*'),
          '2026.2': Series('34.0.0', '16.0.0', '33.*')}


def main():
    rows = []
    failed = False
    for name in sys.argv[1:] or SERIES:
        environment = _installed(name)
        row = [name, SERIES[name].nova]
        for suite in _SUITES:
            ok, result = _run(environment, suite)
            failed = failed or not ok
            row.append(result)
        rows.append(row)
        _show([('series', 'Nova', *_SUITES), *rows])
    return int(failed)


def _installed(name):
    """Return the environment of programs in a series' Python environment."""
    series = SERIES[name]
    folder = os.path.abspath(os.path.join(_FOLDER, name))
    python = os.path.join(folder, 'bin', 'python')
    if not os.path.exists(python):
        subprocess.run([sys.executable, '-m', 'venv', folder], check=True)
    pip = [python, '-m', 'pip', 'install', '--quiet',
           '--disable-pip-version-check']
    subprocess.run([*pip, '--upgrade', 'pip'], check=True)
    constraints = os.environ.get('CONSTRAINTS') or _CONSTRAINTS
    subprocess.run(
        [*pip, '--constraint', constraints.format(series=name),
         f'nova=={series.nova}', f'openstack-placement=={series.placement}',
         f'glance=={series.glance}', *_PACKAGES, '--editable',
         '.[demo,prometheus]'], check=True)
    return os.environ | {
        'PATH': f'{os.path.dirname(python)}:{os.environ["PATH"]}',
        'PYTHON': python, 'PYTHONUNBUFFERED': '1'}


def _run(environment, suite):
    """Run a suite; return whether it passed, and its result in few words."""
    folder, tests = _SUITES[suite]
    repository = os.path.join(environment['PATH'].split(':')[0], '..',
                              f'results-{suite}')
    os.makedirs(repository, exist_ok=True)
    words = [environment['PYTHON'], '-m', 'stestr', '--repo-url', repository,
             '--test-path', f'tests/{folder}', 'run', tests]
    if folder == 'lifecycle':
        words = [environment['PYTHON'], '-m', 'tests.functional.run', *words,
                 '--worker-file', 'tests/lifecycle/workers.yaml']
        words.remove(tests)  # the workers have them all
    began = time.monotonic()
    done = subprocess.run(words, env=environment, check=False, text=True,
                          stdout=subprocess.PIPE)
    print(done.stdout[-5000:])
    counts = dict(re.findall(r' - (Passed|Skipped|Failed): (\d+)',
                             done.stdout))
    said = ', '.join(f'{count} {what.lower()}'
                     for what, count in counts.items() if count != '0')
    return done.returncode == 0, (
        f'{said or "did not run"}, {time.monotonic() - began:.0f} s')


def _show(rows):
    widths = [max(map(len, column)) for column in zip(*rows)]
    print(f'\n{datetime.date.today().isoformat()}')
    for row in rows:
        print('  '.join(cell.ljust(width)
                        for cell, width in zip(row, widths)).rstrip())


if __name__ == '__main__':
    sys.exit(main())
