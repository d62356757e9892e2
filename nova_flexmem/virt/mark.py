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

"""The mark of FlexMem instances in their system metadata.

It names the image below the delta, and exists as long as the delta does: on a
host, or as the snapshot of a shelved instance. Without it, a delta whose
record is lost would be started as a stock root disk.

Versions before this one left marks behind: a spawn that failed, or a host
with Nova's own driver, made a stock instance of one that was marked already.
"""

import os

from oslo_log import log

from nova.compute import task_states
from nova.compute import vm_states
import nova.conf
from nova.virt.libvirt import utils as libvirt_utils

from nova_flexmem.virt import diskkinds
from nova_flexmem.virt import layered

CONF = nova.conf.CONF
LOG = log.getLogger(__name__)


def set_to(instance, record):
    """Mark an instance as what it is.

    Nova saves the instance after whatever it had the driver do.

    :param record: its Record; None if it is a stock instance
    """
    if record is None:
        instance.system_metadata.pop(layered.SYSTEM_KEY, None)
    elif instance.system_metadata.get(layered.SYSTEM_KEY) != record.image_id:
        instance.system_metadata[layered.SYSTEM_KEY] = record.image_id


def set_after_failure(instance):
    """Mark an instance whose spawn failed as what is left of it here.

    One that is unshelved, evacuated or resized across cells keeps its mark:
    its disk is where it was before.
    """
    if instance.vm_state == vm_states.BUILDING:
        set_to(instance, None)  # Nova removes its files
    elif (instance.task_state == task_states.REBUILD_SPAWNING and
            instance.host == CONF.host):
        set_to(instance, diskkinds.of(instance).record())


def record_of(instance, ask=False):
    """Return the Record of an instance, or None for a stock one.

    A mark that is not true any more is taken off.

    :param ask: whether to ask Ceph although neither a mark nor the instance's
        folder says that there is a record
    :raises: RecordUnusable
    """
    folder = libvirt_utils.get_instance_path(instance)
    marked = layered.SYSTEM_KEY in instance.system_metadata
    disk = diskkinds.of(instance)
    record = disk.record(ask=marked or ask)
    if record is None and marked and (
            os.path.isdir(folder) or disk.exists()):
        # only now: nobody else reads the qcow2 disk of a guest that runs
        if not _has_stock_disk(instance, disk):
            return disk.require_record()
        LOG.info('The instance has a stock root disk, so that its mark of'
                 ' FlexMem is taken off', instance=instance)
        set_to(instance, None)
    return record


def _has_stock_disk(instance, disk):
    """Return whether an instance without a record certainly is stock."""
    if not instance.image_ref:
        return True  # it boots from a volume
    if CONF.libvirt.images_type not in diskkinds.IMAGES_TYPES:
        return True  # its disk is somewhere else
    # writes=memory leaves no disk to look at
    return disk.is_certainly_stock()
