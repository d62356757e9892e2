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

"""Check what software expects of a server, in guests with real packages.

    python -m tests.guests [--page] [GROUP[.ROW]...]

A group is one guest. Each row of the table says what works, what works
differently and what does not; the check of a row fails if that is not so.
"""

import argparse
import os
import sys
import tempfile

from nova_flexmem.demo import hypervisor
from nova_flexmem import exception
from tests.guests import groups
from tests.guests import page
from tests.guests import runner


def main():
    parser = argparse.ArgumentParser(
        prog='python -m tests.guests',
        description='Check what software expects of a server, in guests.')
    parser.add_argument('--page', action='store_true',
                        help='write the table of the documentation, and no'
                        ' more')
    parser.add_argument('what', nargs='*', metavar='GROUP[.ROW]',
                        help='which guests, and which rows of them; default:'
                        f' all of {" ".join(groups.GROUPS)}')
    arguments = parser.parse_args()
    if arguments.page:
        print('\n'.join(page.tables()), end='')
        return 0
    wanted = {}
    for word in arguments.what or groups.GROUPS:
        name, _, row = word.partition('.')
        if name not in groups.GROUPS:
            parser.error(f'there is no group {name}')
        wanted.setdefault(name, []).extend([row] if row else [])
    return 1 if _run(wanted) else 0


def _run(wanted):
    """Run rows; return how many were not as their table says."""
    wrong = right = 0
    with tempfile.TemporaryDirectory(prefix='flexmem-guests-',
                                     dir='/var/tmp') as folder, \
            hypervisor.connect(folder) as connection:
        os.chmod(folder, 0o711)
        running = runner.Runner(folder, connection)
        for name, rows_wanted in wanted.items():
            try:
                for row, fault, seen, seconds in running.run(
                        name, groups.GROUPS[name], rows_wanted):
                    wrong, right = wrong + bool(fault), right + (not fault)
                    _show(name, row.name, f'{seconds:.0f}', row.result,
                          f'NOT SO: {fault[-2000:]}' if fault else
                          f'as expected {seen}')
            except exception.FlexMemException as e:
                wrong += 1
                _show(name, '-', '-', '-', f'NOT SO: {e}')
    print(f'{right} as expected, {wrong} not')
    return wrong


def _show(*cells):
    print('  '.join(cell.ljust(width) for cell, width in zip(
        cells, (14, 20, 4, 17, 0))), flush=True)


if __name__ == '__main__':
    sys.exit(main())
