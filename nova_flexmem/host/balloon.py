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

"""Asks guests what they use their memory for (balloon statistics)."""

import time

import libvirt
from oslo_log import log

from nova_flexmem import libvirt_connection

LOG = log.getLogger(__name__)

#: Statistics are older only if nobody asks the guest for them, or it is
#: paused: a guest reports once when it boots. Nova asks every 10 s.
_OLD_S = 300


def page_caches():
    """Return the sizes of the guests' page caches: {uuid: bytes}.

    They include file content, metadata, and tmpfs (VIRTIO_BALLOON_S_CACHES).
    A guest without balloon statistics is left out; instances have them unless
    [libvirt] mem_stats_period_seconds is 0. A domain that is busy is left out,
    too, and one whose statistics are old. If libvirt does not answer, all are.
    """
    return _statistics('disk_caches')


def unused_bytes():
    """Return how much of its RAM each guest does not use: {uuid: bytes}.

    That is MemFree of the guest (VIRTIO_BALLOON_S_MEMFREE). Guests are left
    out as in page_caches().
    """
    return _statistics('unused')


def _statistics(name):
    """Return a figure of the guests' balloons: {uuid: bytes}."""
    name = f'balloon.{name}'
    try:
        with libvirt_connection.read_only() as connection:
            domains = connection.getAllDomainStats(
                libvirt.VIR_DOMAIN_STATS_BALLOON,
                libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_RUNNING
                | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT)
    except libvirt.libvirtError as e:
        LOG.info('The statistics of guests\' balloons are not known, as'
                 ' libvirt does not answer: %s', e)
        return {}
    return {domain.UUIDString(): values[name] << 10
            for domain, values in domains if name in values
            and time.time() - values.get('balloon.last-update', 0) < _OLD_S}
