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

"""Figures that tests give: rows of a table, kept in a file as JSON."""

import json
import os

#: Names the file in the environment; without it nothing is kept.
VARIABLE = 'FLEXMEM_UPGRADE_FIGURES'


def note(what, kernel, made_on, started_on, paths, wrong):
    """Keep how many paths showed what they must not.

    :param what: how the instance came to the layout
    :param kernel: release of the guest's kernel
    :param made_on: version of the mkfs of the layout of its delta
    :param started_on: version of the mkfs of the layout it was started on
    :param paths: how many paths were compared
    """
    path = os.environ.get(VARIABLE)
    if path:
        with open(path, 'a') as f:
            json.dump([what, kernel, made_on, started_on, paths, wrong], f)
            f.write('\n')


def table(rows):
    """Return rows of figures as text."""
    rows = [['way', 'kernel', 'made on', 'started on', 'paths', 'wrong'],
            *sorted([*map(str, row)] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return '\n'.join(
        '  '.join(cell.ljust(width) for cell, width in zip(row, widths))
        .rstrip() for row in rows)
