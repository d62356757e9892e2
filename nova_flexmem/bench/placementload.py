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

"""What users ask a simulated cloud for, over a month."""

import bisect
import dataclasses
import itertools
import random
import uuid

DAY_S = 86400

#: (virtual processors, MiB of memory, GiB of disk) of flavors, and how often
#: one is asked for.
FLAVORS = ((1, 2048, 20), (2, 4096, 40), (4, 8192, 80))
_FLAVOR_WEIGHTS = (5, 3, 2)

#: (mean life in days, share of the instances that are created)
_LIVES = ((1, 0.15), (90, 0.85))

#: Mean number of instances of a request, and the largest.
_MEAN_NUMBER = 3
_MOST = 20

#: Share of the requests for several instances that have a server group, each.
_GROUPS = (('anti-affinity', 0.1), ('soft-anti-affinity', 0.1))

#: Days before the month in which the instances of its first day are created.
FILL_DAYS = 10


@dataclasses.dataclass(frozen=True)
class Options:
    """A simulated cloud and its month.

    :ivar instances: their mean number
    :ivar zipf: the exponent: the image at place n of popularity is asked for
        n ** -zipf times as often as the first
    """

    hosts: int = 1000
    instances: int = 50000
    days: int = 30
    images: int = 100
    zipf: float = 1.0
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class Request:
    """A request for instances.

    :ivar at_s: seconds since the month began; below 0 before it
    :ivar image: 0 for the most popular, and so on
    :ivar flavor: index in FLAVORS
    :ivar ends_s: for each instance, when it is deleted
    :ivar group: policy of the server group, None if there is none
    """

    at_s: float
    image: int
    flavor: int
    ends_s: tuple[float, ...]
    group: str | None


def image_id(number):
    """Return the Glance id of an image."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))


def requests(options):
    """Yield the Requests in order; the same ones for equal options."""
    generator = _Generator(options)
    filling = generator.requests(-FILL_DAYS * DAY_S, options.instances,
                                 generator.rest_of_life)
    yield from sorted(filling, key=lambda request: request.at_s)
    mean_life = sum(days * share for days, share in _LIVES)
    created = round(options.instances * options.days / mean_life)
    yield from sorted(generator.requests(options.days * DAY_S, created,
                                         generator.life),
                      key=lambda request: request.at_s)


class _Generator:

    def __init__(self, options):
        self._random = random.Random(options.seed)
        self._images = list(itertools.accumulate(
            place ** -options.zipf for place in range(1, options.images + 1)))

    def requests(self, length_s, instances, end_s):
        """Yield Requests for a number of instances at any time of a period.

        :param length_s: of the period that begins at 0, or ends there if it
            is below 0
        :param end_s: gives the end of an instance from its beginning
        """
        while instances > 0:
            number = min(self._number(), instances)
            instances -= number
            at_s = self._random.random() * length_s
            yield Request(
                at_s, bisect.bisect(
                    self._images, self._random.random() * self._images[-1]),
                self._random.choices(range(len(FLAVORS)),
                                     _FLAVOR_WEIGHTS)[0],
                tuple(end_s(at_s) for _instance in range(number)),
                self._group(number))

    def life(self, at_s):
        days = self._random.choices(*zip(*_LIVES))[0]
        return at_s + self._random.expovariate(1 / days) * DAY_S

    def rest_of_life(self, _at_s):
        """Return the end of an instance that runs when the month begins."""
        # of those that run at any time, more are of the long-lived
        days = self._random.choices(
            [days for days, _share in _LIVES],
            [days * share for days, share in _LIVES])[0]
        return self._random.expovariate(1 / days) * DAY_S

    def _number(self):
        number = 1
        while number < _MOST and self._random.random() > 1 / _MEAN_NUMBER:
            number += 1
        return number

    def _group(self, number):
        drawn = self._random.random()
        for policy, share in _GROUPS:
            if number > 1 and drawn < share:
                return policy
            drawn -= share
        return None
