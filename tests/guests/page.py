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

"""The tables of the documentation, made from the rows."""

import textwrap

from tests.guests import groups
from tests.guests import rows

RESULTS = (rows.WORKS, rows.DIFFERS, rows.FAILS)

_HEAD = """.. list-table::
   :header-rows: 1
   :widths: 38 17 45

   * - what
     - result
     - how
"""


def tables():
    """Yield the sections of all groups, reStructuredText.

    Rows that have not been tried are left out.
    """
    for group in groups.GROUPS.values():
        tried = [row for row in group.rows if row.tried]
        if tried:
            yield (f'{group.title}\n{"=" * len(group.title)}\n\n{_HEAD}'
                   + ''.join(map(_cells, tried)))


def _cells(row):
    return ''.join(
        textwrap.fill(text, 79, initial_indent=mark,
                      subsequent_indent=' ' * 7, break_long_words=False,
                      break_on_hyphens=False) + '\n' if text else
        f'{mark.rstrip()}\n'
        for mark, text in (('   * - ', row.title), ('     - ', row.result),
                           ('     - ', row.note)))
