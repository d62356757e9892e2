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

"""A straight line through points, by least squares."""

import dataclasses
import math
import statistics


@dataclasses.dataclass(frozen=True)
class Slope:
    """How much y grows with x.

    :ivar value: of the line
    :ivar error: its standard error; None for two points, which have none
    """

    value: float
    error: float | None


def fit(points):
    """Return the Slope of (x, y) points, at least two of different x."""
    xs, ys = zip(*points)
    value, intercept = statistics.linear_regression(xs, ys)
    if len(points) < 3:
        return Slope(value, None)
    middle = statistics.fmean(xs)
    rest = sum((y - intercept - value * x) ** 2 for x, y in points)
    spread = sum((x - middle) ** 2 for x in xs)
    return Slope(value, math.sqrt(rest / (len(points) - 2) / spread))
