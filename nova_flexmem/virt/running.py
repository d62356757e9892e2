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

"""The very files that a running guest runs on, at the host that it comes to.

All of root.pmem, kernel and initramfs have to have the content that the guest
was started with. No other layout will do: the guest has the filesystem in
memory.
"""

import os

from oslo_concurrency import processutils
from oslo_log import log

from nova.virt.libvirt import utils as libvirt_utils

from nova_flexmem.build import bootfiles
from nova_flexmem import exception
from nova_flexmem.store import basefiles
from nova_flexmem.store import locks
from nova_flexmem.virt import bootdigests
from nova_flexmem.virt import layered

LOG = log.getLogger(__name__)


def base_of(bases, record, key=None):
    """Return the very base of a Record if this host has it whole, else None.

    :param bases: the host's Bases
    :param key: of several equal bases, the key of the one that is wanted
    """
    wanted = layered.Wanted.of(record)
    return bases.here(wanted if key is None else wanted.under(key))


def provide(bases, context, instance, facts):
    """Have the files of a running guest on this host.

    :param facts: the source's migratedata.Facts
    :returns: the basefiles.Base, and the folder of kernel and initramfs
    :raises: InstanceRefused; as Bases.of_record()
    """
    record, remote = facts.record, facts.place
    if base_of(bases, record) is None:
        bases.bring_from(layered.Wanted.of(record), facts.host,
                         os.path.dirname(os.path.dirname(remote.root_pmem)))
    base = bases.of_record(context, instance, record, facts.host)
    if base.layout != record.root_sha256:
        raise exception.InstanceRefused(
            reason=f'its base (layout {record.root_sha256[:16]}) is neither'
            ' here nor on a host that it can be copied from; let nova-compute'
            f' copy files from {facts.host} by ssh, as for cold migration')
    folder = (bootdigests.find(bases.store, base, record) or
              _bring_boot_files(bases.store, base, facts))
    return base, folder


def _bring_boot_files(store, base, facts):
    """Copy kernel and initramfs from the source; return their folder."""
    record = facts.record
    path = bootdigests.folder_of(store, base, record)
    try:
        with (store.lock(locks.BUILD, base.key),
              store.build_folder(base.key) as made):
            for name, source in ((basefiles.KERNEL, facts.place.kernel),
                                 (basefiles.INITRAMFS, facts.place.initramfs)):
                libvirt_utils.copy_image(source, os.path.join(made, name),
                                         host=facts.host, receive=True)
            if not bootdigests.match(base, made, record):
                raise exception.InstanceRefused(
                    reason='the kernel and initramfs that it was started with'
                    f' are not on {facts.host} any more; hard reboot it there')
            bootfiles.publish(made, path)
    except (OSError, processutils.ProcessExecutionError) as e:
        raise exception.InstanceRefused(
            reason='this version of nova-flexmem makes another kernel and'
            ' initramfs for its base, and those that it was started with'
            f' could not be copied from {facts.host} ({e}); let nova-compute'
            ' copy files by ssh, as for cold migration, or hard reboot it'
            ' after an upgrade of its host')
    LOG.info('Brought the boot files of base %(key)s that the guest was'
             ' started with from %(host)s',
             {'key': base.key, 'host': facts.host})
    return path
