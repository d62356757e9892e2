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

"""Predicts from running stock guests what FlexMem guests will hold."""

import os

from oslo_log import log

from nova_flexmem.host import estimate

LOG = log.getLogger(__name__)


def of_guests(pids, raw, reporting_order, progress):
    """Return the guest RAM that each guest would hold: {pid: bytes}.

    A guest for which there is no estimate is left out, and the log says why.

    :param pids: of the guests' QEMU processes
    :param raw: path of the image that they were made from
    :param reporting_order: as of kinds.Options
    :param progress: called with a text as each step begins
    :raises: EstimateFailed if this user may not read guests' memory
    """
    taken = estimate.measure(
        estimate.Options(max_virtual_size_bytes=os.path.getsize(raw),
                         free_returned=reporting_order == 0,
                         pids=frozenset(pids)),
        lambda stage, _part: progress(stage))
    for sentence in taken.left_out:
        LOG.warning('%s', sentence)
    return {each.instance.qemu.pid: each.with_flexmem_bytes
            for each in taken.instances}
