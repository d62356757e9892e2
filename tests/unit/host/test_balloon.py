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

"""Which statistics of guests' balloons are used."""

import contextlib
import time

import fixtures
import libvirt
import testtools

from nova_flexmem.host import balloon
from nova_flexmem import libvirt_connection


class _Domain:

    def __init__(self, uuid):
        self._uuid = uuid

    def UUIDString(self):
        return self._uuid


class _Connection:

    def __init__(self, statistics):
        self._statistics = statistics

    def getAllDomainStats(self, _statistics, _flags):
        return [(_Domain(uuid), {f'balloon.{name}': value
                                 for name, value in values.items()})
                for uuid, values in self._statistics.items()]


class BalloonTest(testtools.TestCase):

    def _statistics(self, statistics):
        @contextlib.contextmanager
        def read_only():
            yield _Connection(statistics)

        self.patch(libvirt_connection, 'read_only', read_only)
        return balloon.page_caches(), balloon.unused_bytes()

    def test_sizes_are_in_bytes(self):
        now = int(time.time())
        self.assertEqual(({'a': 3 << 10}, {'a': 5 << 10}), self._statistics(
            {'a': {'disk_caches': 3, 'unused': 5, 'last-update': now}}))

    def test_guests_that_do_not_report(self):
        self.assertEqual(({}, {}), self._statistics(
            {'a': {'current': 7, 'last-update': 0}}))

    def test_what_a_guest_reported_once_when_it_booted(self):
        then = int(time.time()) - 1000
        self.assertEqual(({}, {}), self._statistics(
            {'a': {'disk_caches': 3, 'unused': 5, 'last-update': then}}))

    def test_no_libvirt(self):
        self.useFixture(fixtures.FakeLogger())

        def refuse():
            raise libvirt.libvirtError('no connection')

        self.patch(libvirt_connection, 'read_only', refuse)
        self.assertEqual(({}, {}), (balloon.page_caches(),
                                    balloon.unused_bytes()))
