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

"""What a move takes, beside a server with Nova's own disk."""

import statistics

from oslo_utils import units

from tests.cloud import moving

_MOVES = 5

_RAM_MIB = 768


class MoveFiguresTest(moving.MovingTestCase):

    def test_after_reading_100_mb(self):
        self._compare(100, 0.45)

    def test_after_reading_300_mb(self):
        self._compare(300, 0.30)

    def _compare(self, read_mb, most):
        """Compare moves of servers that have read as much.

        :param most: of the stock server's RAM that a FlexMem server may move
        """
        image_id = self.image(f'reading{read_mb}',
                              data_bytes=read_mb * units.M)
        stock = self._measure(self.boot_stock(image_id, _RAM_MIB))
        flexmem = self._measure(
            self.boot(image_id, self.flavor(ram_mib=_RAM_MIB)))
        print(f'read {read_mb} MB, stock then FlexMem:', stock, flexmem)
        ram, downtime = (
            statistics.median(flexmem[name]) / statistics.median(stock[name])
            for name in ('memory_processed', 'downtime'))
        print(f'RAM moved {ram:.2f}, downtime {downtime:.2f}')
        saved = flexmem['saved'][0] / stock['saved'][0]
        print(f'file of the suspended server {saved:.2f}')
        self.assertLessEqual(ram, most)
        self.assertLessEqual(downtime, 1)
        self.assertLessEqual(saved, 0.60)

    def _measure(self, server_id):
        """Move a server and suspend it.

        :returns: the moves' statistics, and in "saved" what its file takes of
            the disk, in bytes, {name: [number]}
        """
        self.wait(server_id, 'ACTIVE')
        found: dict[str, list[int]] = {}
        for _ in range(_MOVES):
            node = self.move(server_id)
            moved = self.hosts.migrated(server_id, node)
            for name in ('memory_processed', 'downtime', 'time_elapsed'):
                found.setdefault(name, []).append(moved[name])
        self.act(server_id, 'suspend')
        self.wait(server_id, 'SUSPENDED')
        found['saved'] = [self.hosts.saved_bytes(
            server_id, self.host_of(server_id))]
        self.delete(server_id)
        return found
