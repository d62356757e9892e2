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

"""Count the tests of a subunit stream: the closing line of `make test`.

Reads subunit v2 from standard input. Lists the tests that were skipped, with
the reason, and those that failed, with the end of what they say. Exit code 0
if tests ran and none failed.
"""

import sys

import subunit
import testtools


#: What is told of a failure at most: the whole of it stands further up.
_LINES = 20
_COLUMNS = 300


def main():
    summary = testtools.StreamSummary()
    summary.startTestRun()
    subunit.ByteStreamToStreamResult(
        sys.stdin.buffer, non_subunit_name='stdout').run(summary)
    summary.stopTestRun()
    failed = {test.id(): why for test, why in
              summary.errors + summary.failures}
    failed |= {test.id(): 'success, which was not expected'
               for test in summary.unexpectedSuccesses}
    for test, why in sorted((test.id(), why) for test, why in
                            summary.skipped):
        print(f'skipped: {test}: {why}')
    for test, why in sorted(failed.items()):
        print(f'failed: {test}')
        for line in why.rstrip().splitlines()[-_LINES:]:
            print(f'    {line[:_COLUMNS]}')
    passed = summary.testsRun - len(failed) - len(summary.skipped)
    print(f'{passed} passed, {len(failed)} failed,'
          f' {len(summary.skipped)} skipped')
    return 0 if passed and not failed else 1


if __name__ == '__main__':
    sys.exit(main())
