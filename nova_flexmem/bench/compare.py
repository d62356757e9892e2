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

"""Two runs of one benchmark, side by side."""

from nova_flexmem import exception

COLUMNS = ('Figure', 'Unit', 'Kind', 'A', 'A range', 'B', 'B range', 'B/A')


def rows(a, b):
    """Return the rows of a table: every figure that both runs have.

    :param a: results.Results
    :param b: results.Results of the same benchmark
    :raises: BenchFailed if they have nothing in common
    """
    if a.bench != b.bench:
        raise exception.BenchFailed(
            reason=f'{a.bench} and {b.bench} are different benchmarks and'
            ' cannot be compared')
    others = {(figure.name, figure.unit): figure for figure in b.figures}
    rows = [_row(figure, others[figure.name, figure.unit], kind)
            for figure in a.figures if (figure.name, figure.unit) in others
            for kind in figure.samples
            if figure.samples[kind]
            and others[figure.name, figure.unit].samples.get(kind)]
    if not rows:
        raise exception.BenchFailed(
            reason='the two runs have no figure in common')
    return rows


def differences(a, b):
    """Return how the environments and options of two runs differ.

    :returns: sentences
    """
    differences = []
    for what in ('environment', 'options'):
        left, right = getattr(a, what), getattr(b, what)
        differences += [
            f'{name}: {left.get(name)} in A, {right.get(name)} in B'
            for name in sorted(left | right)
            if left.get(name) != right.get(name) and name != 'date']
    return differences


def _row(a, b, kind):
    left, right = a.samples[kind], b.samples[kind]
    before, after = a.median(kind), b.median(kind)
    return (a.name, a.unit, kind, round(before, 2), _range(left),
            round(after, 2), _range(right),
            round(after / before, 2) if before else None)


def _range(values):
    return (f'{min(values):.2f}..{max(values):.2f}' if len(values) > 1
            else '')
