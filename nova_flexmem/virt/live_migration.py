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

"""Live migration of FlexMem instances.

Whatever is not certain is refused before anything moves: with another content
of the base, a guest would crash at the destination when the source has
forgotten it already.
"""

import contextlib
import dataclasses
import os

import libvirt
from oslo_log import log

import nova.conf
from nova import exception as nova_exception
from nova.virt.libvirt import utils as libvirt_utils

from nova_flexmem import exception
from nova_flexmem.guest import moving
from nova_flexmem.store import basefiles
from nova_flexmem.virt import capability
from nova_flexmem.virt import diskkinds
from nova_flexmem.virt import layered
from nova_flexmem.virt import migratedata
from nova_flexmem.virt import running

CONF = nova.conf.CONF
LOG = log.getLogger(__name__)


@contextlib.contextmanager
def _refusing():
    """Turn our exceptions into the one that Nova has for such checks."""
    try:
        yield
    except exception.FlexMemException as e:
        raise nova_exception.MigrationPreCheckError(reason=str(e)) from e
    except libvirt.libvirtError as e:
        raise nova_exception.MigrationPreCheckError(
            reason=f'libvirt does not answer: {e}') from e


@contextlib.contextmanager
def surviving(guest, instance):
    """Keep to ourselves what ended a move if the guest runs on here.

    Nova sees from the guest that the move has failed, and rolls it back. Told
    the reason as well, it would take the instance for broken after that.

    :param guest: the nova.virt.libvirt.guest.Guest that is moved
    """
    try:
        yield
    except Exception as e:
        with contextlib.suppress(libvirt.libvirtError):
            if guest.is_active():
                LOG.warning('Its move has failed, and it runs on here: %s', e,
                            instance=instance)
                return
        raise


class Source:
    """The host that an instance leaves.

    :param host: Nova's nova.virt.libvirt.host.Host
    """

    def __init__(self, host):
        self._host = host

    def check(self, instance, record, data, flags):
        """Check that an instance may leave, and tell what it is.

        :param data: Nova's migrate_data, of the destination
        :param flags: of libvirt's migration
        :raises: MigrationPreCheckError
        """
        with _refusing():
            if not migratedata.is_offered(data):
                raise exception.InstanceRefused(
                    reason='the destination cannot take FlexMem instances, or'
                    ' runs another version of nova-flexmem; choose another'
                    ' host, or upgrade it')
            if flags & libvirt.VIR_MIGRATE_POSTCOPY:
                raise exception.InstanceRefused(
                    reason='it cannot be migrated with post-copy; set'
                    ' [libvirt] live_migration_permit_post_copy = False on'
                    f' {CONF.host}')
            if ('dst_wants_file_backed_memory' in data and
                    data.dst_wants_file_backed_memory):
                raise exception.InstanceRefused(
                    reason='the destination keeps the RAM of guests in files'
                    ' ([libvirt] file_backed_memory), which the migration'
                    ' would leave out; choose another host')
            there = data.image_type
            if diskkinds.kind(there) is not diskkinds.here():
                raise exception.InstanceRefused(
                    reason=f'the destination has [libvirt] images_type={there}'
                    f' and this host {CONF.libvirt.images_type}; choose'
                    ' another host')
            guest = capability.movable_guest(self._host, instance, record)
            place = moving.place_of(guest.get_xml_desc())
        migratedata.tell_facts(data, migratedata.Facts(CONF.host, record,
                                                       place))

    def departing(self, guest, data):
        """Return a guest that is moved to its Place at the destination.

        :param guest: the running nova.virt.libvirt.guest.Guest
        :param data: Nova's migrate_data, of the destination
        :raises: MigrationPreCheckError
        """
        return _Departing(guest, migratedata.place_of(data))


class _Departing:
    """A guest that Nova moves, with the XML that the destination needs."""

    def __init__(self, guest, place):
        self._guest = guest
        self._place = place

    def __getattr__(self, name):
        return getattr(self._guest, name)

    def migrate(self, destination, **kwargs):
        """As Guest.migrate(); the last look before anything moves."""
        with _refusing():
            kwargs['destination_xml'] = moving.moved(
                kwargs['destination_xml'], self._place)
            why_not = capability.why_not(self._guest)
            if why_not:
                raise exception.InstanceRefused(reason=why_not)
        return self._guest.migrate(destination, **kwargs)


class Destination:
    """The host that an instance comes to.

    :param bases: the host's Bases
    :param offered: the host's capability.Capability
    :param await_fit: raises HostUnfit if the host can't run FlexMem
        instances, once that is known
    """

    def __init__(self, bases, offered, await_fit):
        self._bases = bases
        self._offered = offered
        self._await_fit = await_fit

    @staticmethod
    def concerns(instance):
        """Return whether an instance of another host is a FlexMem one."""
        return layered.SYSTEM_KEY in instance.system_metadata

    def check(self):
        """Check that this host can take running FlexMem instances.

        :raises: MigrationPreCheckError
        """
        with _refusing():
            self._await_fit()
            self._offered.check()

    def prepare(self, context, instance, data):
        """Have the very base of a guest here, and in use.

        :param data: Nova's migrate_data, with the source's Facts
        :returns: the basefiles.Base, and the folder of its boot files
        :raises: MigrationPreCheckError
        """
        facts = migratedata.facts_of(data)
        with _refusing():
            base, folder = running.provide(self._bases, context,
                                           instance, facts)
            self._bases.store.use(base.key, instance.uuid)
            return base, folder

    def receive(self, instance, data, base, folder):
        """Make the instance's folder what a FlexMem instance has.

        :param base, folder: what prepare() returned
        :raises: MigrationPreCheckError
        """
        facts = migratedata.facts_of(data)
        path = libvirt_utils.get_instance_path_at_destination(instance, data)
        with _refusing():
            # until the folder was there, the instance did not seem to be here
            self._bases.store.use(base.key, instance.uuid)
            switch = self._offered.arguments(path)
            if not switch:
                raise exception.HostUnfit(reason='it cannot offer live'
                                          ' migration, as its log says')
            if not data.is_shared_instance_path:
                dataclasses.replace(facts.record, base_key=base.key).write(
                    path)
        migratedata.tell_place(data, moving.Place(
            base.file(basefiles.ROOT_PMEM),
            os.path.join(folder, basefiles.KERNEL),
            os.path.join(folder, basefiles.INITRAMFS), switch))

    def arrived(self, instance, record):
        """Note, once more, that an instance that has come uses its base."""
        base = running.base_of(self._bases, record)
        if base is None:
            LOG.error('The base of layout %s is gone; do not remove files of'
                      ' the store by hand', record.root_sha256,
                      instance=instance)
        else:
            self._bases.store.use(base.key, instance.uuid)
