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

"""The table of a benchmark's results."""


def columns(results):
    """Return the headings: figure, unit, and up to three for each kind.

    :param results: results.Results
    """
    columns = ['Figure', 'Unit']
    for kind in _kinds(results):
        columns.append(kind)
        if _has_range(results, kind):
            columns.append(f'{kind} range')
        if kind != 'stock':
            columns.append(f'{kind}/stock')
    return tuple(columns)


def rows(results):
    """Return the rows: medians, ranges, and ratios of medians to stock's.

    A value that was not measured is None.
    """
    kinds = {kind: _has_range(results, kind) for kind in _kinds(results)}
    return [_row(figure, kinds) for figure in results.figures]


def _has_range(results, kind):
    """Return whether any figure has several samples of a kind."""
    return any(len(figure.samples.get(kind) or []) > 1
               for figure in results.figures)


def _kinds(results):
    """Return the kinds in the order in which they appear, stock first."""
    kinds = dict.fromkeys(kind for figure in results.figures
                          for kind in figure.samples)
    return sorted(kinds, key=lambda kind: kind != 'stock')


def _row(figure, kinds):
    row = [figure.name, figure.unit]
    for kind, has_range in kinds.items():
        values = figure.samples.get(kind) or []
        row.append(_rounded(figure.median(kind)))
        if has_range:
            row.append(f'{_rounded(min(values))}..{_rounded(max(values))}'
                       if len(values) > 1 else None)
        if kind != 'stock':
            row.append(_rounded(figure.ratio(kind, 'stock'), digits=2))
    return tuple(row)


def _rounded(value, digits=1):
    """Return a value with some digits, more if it is small."""
    if value is None:
        return None
    return round(value, digits if abs(value) >= 1 else digits + 1)
