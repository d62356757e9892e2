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

"""What the demo measures."""

import dataclasses
import statistics

from nova_flexmem.demo import workload
from nova_flexmem.host import memory


@dataclasses.dataclass(frozen=True)
class GuestFigures:
    """What was measured in and of one guest."""

    multi_user_s: float  #: from power-on
    page_cache_before: workload.PageCache
    page_cache_after: workload.PageCache
    reading: workload.Reading
    usage: memory.Usage  #: on the host
    #: of a stock guest, what its RAM would be with FlexMem, if estimated
    estimated_bytes: int | None = None

    @property
    def qemu_bytes(self):
        """QEMU's own, the page tables it needs included."""
        return self.usage.qemu_bytes + self.usage.page_tables_bytes


@dataclasses.dataclass(frozen=True)
class KindFigures:
    """What was measured of all guests of one kind, while all of them ran."""

    guests: list[GuestFigures]
    #: base pages that the first guest has mapped, the first two, ...
    shared_bytes: list[int]
    #: what the host's MemAvailable fell by with all of them
    available_lost_bytes: int

    @property
    def marginal_bytes(self):
        """Memory that each further guest costs, the first one aside."""
        if len(self.guests) == 1:
            return self.guests[0].usage.private_bytes
        private = [guest.usage.private_bytes for guest in self.guests[1:]]
        shared = self.shared_bytes[-1] - self.shared_bytes[0]
        return statistics.mean(private) + shared / len(private)
