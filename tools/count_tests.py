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

"""Count the tests of subunit streams: the closing line of `make test`.

Reads subunit v2 from standard input; of a test that ran twice, the second
result counts. Lists the tests that were skipped, with the reason, those that
passed at the second try, and those that failed, with the end of what they say.
Exit code 0 if tests ran and none failed.
"""

import sys

import subunit
import testtools


#: What is told of a failure at most: the whole of it stands further up.
_LINES = 20
_COLUMNS = 300

_KINDS = {'success': 'passed', 'xfail': 'passed', 'skip': 'skipped'}


def main():
    results = {}

    def add(test):
        before = results.get(test['id'])
        test['again'] = before and before['status'] != 'success'
        results[test['id']] = test

    stream = testtools.StreamToDict(add)
    stream.startTestRun()
    subunit.ByteStreamToStreamResult(
        sys.stdin.buffer, non_subunit_name='stdout').run(stream)
    stream.stopTestRun()
    results.pop('stdout', None)
    counts = dict.fromkeys(('passed', 'failed', 'skipped'), 0)
    for name, test in sorted(results.items()):
        kind = _KINDS.get(test['status'], 'failed')
        counts[kind] += 1
        if kind == 'passed' and test['again']:
            print(f'passed at the second try: {name}')
        elif kind == 'skipped':
            print(f'skipped: {name}: {_why(test, "reason")}')
        elif kind == 'failed':
            print(f'failed: {name}')
            for line in _why(test, 'traceback').splitlines()[-_LINES:]:
                print(f'    {line[:_COLUMNS]}')
    print(', '.join(f'{count} {kind}' for kind, count in counts.items()))
    return 0 if counts['passed'] and not counts['failed'] else 1


def _why(test, name):
    """Return what a test says of its result, text."""
    details = test['details']
    chosen = [name] if name in details else sorted(details)
    return '\n'.join(details[each].as_text().rstrip() for each in chosen)


if __name__ == '__main__':
    sys.exit(main())
