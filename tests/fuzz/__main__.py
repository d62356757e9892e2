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

"""Fuzz the parsers of what tenants have a say in.

    python -m tests.fuzz [--seconds SECONDS] [TARGET...]

Each target runs for so many seconds, in a process of its own, from what is in
its folder of tests/fuzz/corpus. An input that ends it is written there, for
the unit tests to replay. What else was found worth keeping is left in
/var/tmp/nova-flexmem-fuzz (FLEXMEM_FUZZ_FOLDER names another folder).
"""

import argparse
import os
import subprocess
import sys

from tests.fuzz import targets

CORPUS = os.path.join(os.path.dirname(__file__), 'corpus')
_FOUND = os.environ.get('FLEXMEM_FUZZ_FOLDER', '/var/tmp/nova-flexmem-fuzz')

#: Longest time and most memory that one input may take.
_TIMEOUT_S = 20
_MEMORY_MIB = 2048

#: Larger inputs make it slow.
_MAX_BYTES = 128 << 10

#: For a process of its own: the fuzzer ends the process that it runs in.
_RUN_ONE = '''
import sys
import atheris
from tests.fuzz import targets
with atheris.instrument_imports(include=['nova_flexmem', 'oslo_utils']):
    target = targets.load(sys.argv.pop(1))
atheris.Setup(sys.argv, target)
atheris.Fuzz()
'''


def _fuzz(name, seconds):
    """Return whether a target held."""
    seeds = os.path.join(CORPUS, name)
    found = os.path.join(_FOUND, name)
    for folder in (seeds, found):
        os.makedirs(folder, exist_ok=True)
    print(f'==== {name}', flush=True)
    return subprocess.run(
        [sys.executable, '-c', _RUN_ONE, name, found, seeds,
         f'-max_total_time={seconds}',
         f'-timeout={_TIMEOUT_S}', f'-rss_limit_mb={_MEMORY_MIB}',
         f'-max_len={_MAX_BYTES}', f'-artifact_prefix={seeds}/',
         '-print_final_stats=1', '-verbosity=0'],
        check=False).returncode == 0


def main():
    parser = argparse.ArgumentParser(
        prog='python -m tests.fuzz',
        description='Fuzz the parsers of what tenants have a say in.')
    parser.add_argument('--seconds', type=int, default=60,
                        help='for each target; default: %(default)s')
    parser.add_argument('target', nargs='*', metavar='TARGET',
                        help=f'default: {" ".join(sorted(targets.MODULES))}')
    arguments = parser.parse_args()
    fell = [name for name in arguments.target or sorted(targets.MODULES)
            if not _fuzz(name, arguments.seconds)]
    print(f'==== targets that did not hold: {", ".join(fell) or "none"}')
    return 1 if fell else 0


if __name__ == '__main__':
    sys.exit(main())
