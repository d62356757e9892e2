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

"""What a benchmark found, as it is kept, shown and compared."""

import dataclasses
import json
import os
import statistics

from nova_flexmem import exception

#: The file in a folder of results.
NAME = 'results.json'

#: Raised when what is in the file changes its meaning.
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Figure:
    """One thing measured of each of several kinds of guests.

    :ivar unit: as it is shown
    :ivar samples: {kind: values}; a kind of which it can't be measured is
        not there
    :ivar compared: whether ratios of kinds tell anything
    """

    name: str
    unit: str
    samples: dict[str, list[float]]
    compared: bool = True

    def median(self, kind):
        """Return the median of a kind, None if there is no sample."""
        values = self.samples.get(kind)
        return statistics.median(values) if values else None

    def ratio(self, kind, to):
        """Return the ratio of two kinds' medians, None if there is none."""
        if not self.compared:
            return None
        above, below = self.median(kind), self.median(to)
        return above / below if above is not None and below else None


@dataclasses.dataclass
class Results:
    """All that one run of a benchmark found.

    :ivar bench: the benchmark's name
    :ivar environment: {name: text}, see environment.describe()
    :ivar options: what was asked for
    :ivar figures: in the order in which they are shown
    :ivar series: {name: list of dicts of numbers}, for pictures: what was
        seen over time or over the number of guests
    """

    bench: str
    environment: dict[str, str]
    options: dict
    figures: list[Figure]
    series: dict[str, list[dict]] = dataclasses.field(default_factory=dict)


def write(results, folder):
    """Write results into a folder, whole or not at all; returns the path."""
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, NAME)
    partial = f'{path}.partial'
    with open(partial, 'w', encoding='utf-8') as f:
        json.dump({'format': _FORMAT, **dataclasses.asdict(results)}, f,
                  indent=1)
        f.write('\n')
    os.rename(partial, path)
    return path


def read(path):
    """Return the Results in a file, or in a folder.

    :raises: BenchFailed if they are not there, or not of this format
    """
    if os.path.isdir(path):
        path = os.path.join(path, NAME)
    try:
        with open(path, encoding='utf-8') as f:
            fields = json.load(f)
        if fields.pop('format') != _FORMAT:
            raise ValueError('made by another version of this program')
        figures = [Figure(**figure) for figure in fields.pop('figures')]
        return Results(figures=figures, **fields)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise exception.BenchFailed(
            reason=f'{path}: no results of a benchmark ({e})')
