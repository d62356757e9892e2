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

"""What guests say of their page caches, through the balloon and libvirt."""

import libvirt
from oslo_log import log

LOG = log.getLogger(__name__)

_URI = 'qemu:///system'


def page_caches():
    """Return the page caches of this host's guests: {uuid: bytes}.

    A guest is in it if its balloon has statistics, which Nova has it report
    unless [libvirt] mem_stats_period_seconds is 0. It counts file content,
    metadata, and tmpfs (VIRTIO_BALLOON_S_CACHES). A domain that is busy with
    something else is left out. Nothing is known where libvirt doesn't answer.
    """
    # Errors come as exceptions; by default libvirt prints them as well.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    try:
        connection = libvirt.openReadOnly(_URI)
        try:
            found = connection.getAllDomainStats(
                libvirt.VIR_DOMAIN_STATS_BALLOON,
                libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_RUNNING
                | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT)
        finally:
            connection.close()
    except libvirt.libvirtError as e:
        LOG.info('No figures of guests themselves from libvirt: %s', e)
        return {}
    return {domain.UUIDString(): values['balloon.disk_caches'] << 10
            for domain, values in found if 'balloon.disk_caches' in values}
