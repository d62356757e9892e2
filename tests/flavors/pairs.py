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

"""Few combinations in which any two values of two factors come together."""

import itertools
import random


def cover(factors, possible, seed=0, tries=50):
    """Return combinations that have all pairs of values that are possible.

    Greedy: of some random combinations with a pair that is still missing, the
    one with the most missing pairs is taken.

    :param factors: {name: values}
    :param possible: says whether a combination, {name: value}, may be
    :param tries: how many random combinations are looked at for each
    :returns: a list of {name: value}, the same for the same seed
    :raises: ValueError if a pair seems to be impossible
    """
    chance = random.Random(seed)
    missing = {frozenset(pair) for one, other in
               itertools.combinations(factors, 2)
               for pair in itertools.product(
                   *([(name, value) for value in factors[name]]
                     for name in (one, other)))}
    found = []
    while missing:
        wanted = dict(min(missing, key=lambda pair: sorted(map(str, pair))))
        best = max(_with(wanted, factors, possible, chance, tries),
                   key=lambda each: len(missing & pairs(each)), default=None)
        if best is None:  # these two never come together
            missing.discard(frozenset(wanted.items()))
            continue
        found.append(best)
        missing -= pairs(best)
    return found


def pairs(combination):
    """Return the pairs of (name, value) in a combination, as sets."""
    return {frozenset(pair)
            for pair in itertools.combinations(combination.items(), 2)}


def _with(wanted, factors, possible, chance, tries):
    """Yield possible combinations with some values in them."""
    left = tries * 20
    while tries and left:
        left -= 1
        each = {name: wanted.get(name, chance.choice(values))
                for name, values in factors.items()}
        if possible(each):
            tries -= 1
            yield each
