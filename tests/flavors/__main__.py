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

"""Start guests of all kinds of flavors, and show what came of them.

    python -m tests.flavors [--seed SEED] [--cloud-init] [NUMBER...]

Any two values of two properties of a flavor come together in one of the
guests. Each must read its config drive right, and see what its flavor gives
it. NUMBER names combinations of the table.

With --cloud-init they are Debian's, and cloud-init must end well too. That
takes minutes for each of them.
"""

import argparse
import os
import sys
import tempfile

from nova_flexmem.demo import hypervisor
from nova_flexmem import exception
from tests.flavors import busybox
from tests.flavors import debian
from tests.flavors import domains
from tests.flavors import pairs

_COLUMNS = (*domains.FACTORS, 's', 'result')


def main():
    parser = argparse.ArgumentParser(
        prog='python -m tests.flavors',
        description='Start guests of all kinds of flavors.')
    parser.add_argument('--seed', type=int, default=3,
                        help='of the combinations; default: %(default)s')
    parser.add_argument('--cloud-init', action='store_true',
                        help='start guests of Debian, with cloud-init')
    parser.add_argument('number', nargs='*', type=int,
                        help='which combinations; default: all')
    arguments = parser.parse_args()
    combinations = pairs.cover(domains.FACTORS, domains.possible,
                               arguments.seed)
    wrong = 0
    with tempfile.TemporaryDirectory(prefix='flexmem-flavors-',
                                     dir='/var/tmp') as folder, \
            hypervisor.connect(folder) as connection:
        os.chmod(folder, 0o711)
        kind = (debian.DebianGuests if arguments.cloud_init
                else busybox.BusyboxGuests)
        runner = kind(folder, connection)
        _show('', *_COLUMNS)
        for number, combination in enumerate(combinations, 1):
            if arguments.number and number not in arguments.number:
                continue
            try:
                faults, seconds = runner.run(combination)
            except exception.DomainRefused as e:
                faults, seconds = [str(e)], 0
            wrong += bool(faults)
            _show(number, *combination.values(), f'{seconds:.0f}',
                  '; '.join(faults) or 'right')
    print(f'{wrong} wrong')
    return 1 if wrong else 0


def _show(*cells):
    print('  '.join(str({True: 'yes', False: 'no'}.get(cell, cell)
                        if isinstance(cell, bool) else cell).ljust(width)
                    for cell, width in zip(cells, (
                        3, 7, 7, 5, 5, 12, 7, 7, 6, 8, 11, 5, 4, 0))),
          flush=True)


if __name__ == '__main__':
    sys.exit(main())
