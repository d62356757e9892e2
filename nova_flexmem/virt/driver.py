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

"""Nova's libvirt driver, for hosts that run FlexMem instances.

Instances without FlexMem pass through untouched. The others differ in their
root disk, which is a delta beside a shared base, and in what follows from it.
"""

import contextlib
import copy
import functools
import os

from oslo_log import log

from nova.compute import power_state
from nova.compute import task_states
from nova.compute import utils as compute_utils
import nova.conf
from nova import exception as nova_exception
from nova import objects
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import utils as libvirt_utils

from nova_flexmem import conf as flexmem_conf
from nova_flexmem import glanceconf
from nova_flexmem.guest import basedisk
from nova_flexmem.guest import domain
from nova_flexmem.guest import ignoreshared
from nova_flexmem.guest import rescue as guest_rescue
from nova_flexmem.host import report
from nova_flexmem.publish import glance
from nova_flexmem.store import basefiles
from nova_flexmem.store import superblock
from nova_flexmem.virt import basecounts
from nova_flexmem.virt import bases
from nova_flexmem.virt import bootdigests
from nova_flexmem.virt import capability
from nova_flexmem.virt import diskkinds
from nova_flexmem.virt import eligibility
from nova_flexmem.virt import errors
from nova_flexmem.virt import hoststats
from nova_flexmem.virt import hosttraits
from nova_flexmem.virt import layered
from nova_flexmem.virt import live_migration
from nova_flexmem.virt import mark
from nova_flexmem.virt import migratedata
from nova_flexmem.virt import moves
from nova_flexmem.virt import origin
from nova_flexmem.virt import planner
from nova_flexmem.virt import readiness
from nova_flexmem.virt import record as record_module
from nova_flexmem.virt import rootdisk
from nova_flexmem.virt import scans
from nova_flexmem.virt import suspension

CONF = nova.conf.CONF
LOG = log.getLogger(__name__)

flexmem_conf.register_opts(CONF)
glanceconf.register_opts(CONF)


class FlexMemDriver(libvirt_driver.LibvirtDriver):
    """The libvirt driver, with FlexMem instances."""

    def __init__(self, virtapi, read_only=False):
        super().__init__(virtapi, read_only)
        self._bases = bases.Bases(
            CONF.flexmem, self._image_api,
            functools.partial(glance.Glance.from_conf, CONF)
            if CONF.flexmem.publish_bases == 'glance' else None)
        self._readiness = readiness.Readiness(CONF.flexmem,
                                              CONF.libvirt.virt_type,
                                              diskkinds.here().storage(CONF))
        self._planner = planner.Planner(
            self._bases, self._image_api, self._readiness.wait,
            super()._get_guest_xml)
        self._plans = {}
        self._scans = scans.Scans(CONF.flexmem, self._host)
        self._capability = capability.Capability(self._host,
                                                 CONF.flexmem)
        self._source = live_migration.Source(self._host)
        self._destination = live_migration.Destination(
            self._bases, self._capability, self._readiness.wait)
        self._suspension = suspension.Suspension(
            self._bases, self._capability, self._host)

    def init_host(self, host):
        super().init_host(host)
        with errors.logged('Cleaning the base store'):
            self._bases.clean()
        self._readiness.start()
        report.register(CONF, lambda: self._readiness.findings)
        self._scans.start()

    def cleanup_host(self, host):
        self._readiness.stop()
        self._scans.stop()
        super().cleanup_host(host)

    # -- what the host offers

    def update_provider_tree(self, provider_tree, nodename, allocations=None):
        super().update_provider_tree(provider_tree, nodename, allocations)
        fit = self._readiness.fit
        if fit is not None:  # until then the host keeps what it had
            hosttraits.report(provider_tree, nodename, fit)

    def get_available_resource(self, nodename):
        data = super().get_available_resource(nodename)
        with errors.logged('Counting the instances of bases'):
            data['stats'].update(hoststats.encode(basecounts.count(
                self._bases.store, CONF.instances_path)))
        return data

    def _get_disk_size_reserved_for_image_cache(self):
        reserved = super()._get_disk_size_reserved_for_image_cache()
        with errors.logged('Asking for the size of the base store'):
            reserved += compute_utils.convert_mb_to_ceil_gb(
                diskkinds.here().reserved_mib(self._bases))
        return reserved

    def manage_image_cache(self, context, all_instances):
        super().manage_image_cache(context, all_instances)
        with errors.logged('Ageing bases'):
            self._bases.age(
                moves.users_here(all_instances),
                remove=CONF.image_cache.remove_unused_base_images)

    def cache_image(self, context, image_id):
        built = (self._bases.cache(context, image_id)
                 if self._readiness.fit else None)
        if built is None:
            return super().cache_image(context, image_id)
        return built  # and the image is not kept beside its base

    # -- life

    def spawn(self, context, instance, image_meta, injected_files,
              admin_password, allocations, network_info=None,
              block_device_info=None, power_on=True, accel_info=None):
        spawn = functools.partial(
            super().spawn, context, instance, image_meta, injected_files,
            admin_password, allocations, network_info=network_info,
            block_device_info=block_device_info, power_on=power_on,
            accel_info=accel_info)
        plan = self._plan(
            context, instance, image_meta, network_info, block_device_info,
            bool(accel_info or self._vgpu_allocations(allocations)))
        try:
            with self._following(plan, instance):
                spawn()
        except Exception as e:
            if not (plan and plan.may_be_stock and errors.is_of_flexmem(e)):
                raise
            LOG.warning('FlexMem is preferred, but the instance gets the stock'
                        ' root disk: %s', e, instance=instance)
            self._cleanup(context, instance, network_info, block_device_info,
                          cleanup_instance_dir=True,
                          cleanup_instance_disks=True)
            instance.cleaned = False
            instance.system_metadata.pop('clean_attempts', None)
            with self._following(None, instance):
                spawn()

    @contextlib.contextmanager
    def _following(self, plan, instance):
        """Have an instance spawned as a plan says.

        :param plan: the planner.Plan; None for a stock instance
        """
        self._plans[instance.uuid] = plan
        try:
            yield
        except Exception:
            if plan and plan.is_new and not self.instance_exists(instance):
                # Nova leaves what it made of an instance that is unshelved
                self.delete_instance_files(instance)
                with errors.logged('Removing the disk of a failed spawn'):
                    diskkinds.of(instance).remove()
            mark.set_after_failure(instance)
            raise
        else:
            mark.set_to(instance, plan and plan.record)
        finally:
            del self._plans[instance.uuid]

    def rebuild(self, context, instance, image_meta, injected_files,
                admin_password, allocations, bdms, detach_block_devices,
                attach_block_devices, network_info=None, evacuate=False,
                block_device_info=None, preserve_ephemeral=False,
                accel_uuids=None, reimage_boot_volume=False):
        """Refuse what can't be built while the instance is still there.

        Nova then goes on with its own way of rebuilding.
        """
        if not evacuate:
            try:
                with errors.reporting(context, instance, 'flexmem_rebuild'):
                    self._plan(context, instance, image_meta, network_info,
                               block_device_info,
                               bool(self._vgpu_allocations(allocations)),
                               anew=True)
            except nova_exception.NovaException as e:
                LOG.warning('The rebuild is refused, and the instance stays'
                            ' as it is: %s', e, instance=instance)
                origin.put_back(context, instance)
                raise origin.RebuildRefused(instance_id=instance.uuid) from e
        raise NotImplementedError()

    def _plan(self, context, instance, image_meta, network_info,
              block_device_info, has_host_device, anew=False):
        with errors.shown():
            return self._planner.plan(
                context, instance, image_meta, network_info,
                block_device_info,
                self._is_booted_from_volume(block_device_info),
                has_host_device, anew)

    def _create_and_inject_local_root(self, context, instance, disk_mapping,
                                      booted_from_volume, suffix, disk_images,
                                      injection_info, fallback_from_host):
        plan = self._plans.get(instance.uuid)
        record = self._record(instance)
        if suffix or booted_from_volume or record is None:
            return super()._create_and_inject_local_root(
                context, instance, disk_mapping, booted_from_volume, suffix,
                disk_images, injection_info, fallback_from_host)
        with errors.shown():
            if plan:
                base, other_layout = plan.base, plan.other_layout
            else:
                base, other_layout = self._base(context, instance, record,
                                                fallback_from_host)
            self._run_on(context, instance, record, base, other_layout)
            record = record.on(base)
            if record.writes == 'memory':
                return False
            backend = self.image_backend.by_name(
                instance, 'disk', disk_info_mapping=disk_mapping['disk'])
            disk = diskkinds.of(instance, backend)
            size_bytes = planner.root_bytes(instance, base)
            if not plan and instance.task_state == task_states.RESIZE_FINISH:
                disk.begin_resize()
            if not plan or not plan.snapshot:
                return rootdisk.provide(disk, size_bytes, record)
            return disk.clone(
                context, plan.snapshot, size_bytes, record
            ) or rootdisk.provide(
                disk, size_bytes, record, self._bases.download(
                    context, plan.snapshot, instance.trusted_certs))

    def _get_guest_xml(self, context, instance, *args, rescue=None, **kwargs):
        record = self._record(instance)
        if record is not None and 'old_guest' in kwargs:
            # its domain has no firmware that a new one could go on with
            kwargs['old_guest'] = None
        xml = super()._get_guest_xml(context, instance, *args, rescue=rescue,
                                     **kwargs)
        if record is None:
            return xml
        with errors.shown():
            base, other_layout = self._base(context, instance, record)
            if rescue:
                disk = diskkinds.of(instance).source
                return guest_rescue.attach_base(
                    xml, base.file(basefiles.ROOT_PMEM),
                    superblock.DATA_OFFSET_BYTES,
                    base.manifest.rootfs_size_bytes,
                    missing_disk=disk if record.writes == 'memory' else None)
            if instance.uuid not in self._plans:
                mark.set_to(instance, record)
            boot = self._run_on(context, instance, record, base, other_layout)
            folder = libvirt_utils.get_instance_path(instance)
            xml = domain.transform(
                xml, boot,
                device=record.device, writes=record.writes,
                kernel=record.kernel, direct_paths=record.direct_paths,
                extra_kernel_args=CONF.flexmem.extra_kernel_args,
                reporting_order=flexmem_conf.reporting_order(CONF),
                switch=self._capability.arguments(folder),
                host_devices=CONF.flexmem.host_devices,
                without=record.without)
            diskkinds.of(instance).write_record(record.started(
                base, bootdigests.of(base, boot), ignoreshared.is_given(xml)))
            return xml

    def _get_instance_disk_info_from_config(self, guest_config,
                                            block_device_info):
        guest_config = copy.copy(guest_config)
        guest_config.devices = basedisk.without_zeros(guest_config.devices)
        return super()._get_instance_disk_info_from_config(guest_config,
                                                           block_device_info)

    def _base(self, context, instance, record, from_host=None):
        """Return (the base of an instance, whether its layout is another)."""
        base = self._bases.of_record(context, instance, record, from_host)
        return base, base.layout != record.root_sha256

    def _run_on(self, context, instance, record, base, other_layout):
        """Have an instance use a base, and note that it does.

        :returns: the domain.Boot of its guest
        """
        boot = self._bases.use(base, instance)
        diskkinds.of(instance).write_record(record.on(base))
        if other_layout and record.writes == 'disk':
            errors.note(context, instance, 'flexmem_other_layout')
        return boot

    def _hard_reboot(self, context, instance, *args, **kwargs):
        self._record(instance)  # refused before the guest is ended
        super()._hard_reboot(context, instance, *args, **kwargs)

    def rescue(self, context, instance, network_info, image_meta,
               rescue_password, block_device_info, share_info):
        record = self._record(instance)
        if record and image_meta.obj_attr_is_set('id') and (
                image_meta.id == instance.image_ref != record.image_id):
            # of a layered snapshot only what it lies on can boot by itself
            image_meta = objects.ImageMeta.from_image_ref(
                context, self._image_api, record.image_id)
        super().rescue(context, instance, network_info, image_meta,
                       rescue_password, block_device_info, share_info)

    def power_off(self, instance, timeout=0, retry_interval=0):
        record = (self._record(instance)
                  if instance.task_state == task_states.SHELVING else None)
        if record and record.writes == 'memory':
            errors.refuse('it writes to memory alone and has no disk, so it'
                          ' cannot be shelved')
        super().power_off(instance, timeout, retry_interval)

    def suspend(self, context, instance):
        record = self._record(instance)
        if record:
            with errors.refusing():
                self._suspension.check(instance, record)
        super().suspend(context, instance)

    def resume(self, context, instance, network_info, block_device_info=None,
               share_info=None):
        record = self._record(instance)
        if record:
            with errors.refusing():
                self._suspension.prepare_resume(instance, record)
        super().resume(context, instance, network_info, block_device_info,
                       share_info)

    def delete_instance_files(self, instance):
        deleted = super().delete_instance_files(instance)
        if deleted:
            self._release(instance)
        return deleted

    def attach_interface(self, context, instance, image_meta, vif):
        if self._record(instance):
            with errors.shown():
                eligibility.check_interface(vif)
        super().attach_interface(context, instance, image_meta, vif)

    # -- snapshots

    def snapshot(self, context, instance, image_id, update_task_state):
        record = self._record(instance)
        if record:
            with errors.reporting(context, instance, 'flexmem_snapshot'):
                layered.check(context, self._image_api, record)
                if self.get_info(instance).state != power_state.SHUTDOWN:
                    self._check_snapshot_of_running(context, instance, record)
        super().snapshot(context, instance, image_id, update_task_state)

    def _check_snapshot_of_running(self, context, instance, record):
        if CONF.workarounds.disable_libvirt_livesnapshot:
            # Nova suspends it for that
            self._suspension.check(instance, record)
        else:
            diskkinds.of(instance).check_snapshot_of_running(context)

    def _create_snapshot_metadata(self, image_meta, instance, *args,
                                  **kwargs):
        metadata = super()._create_snapshot_metadata(image_meta, instance,
                                                     *args, **kwargs)
        record = self._record(instance)
        if record:
            metadata['properties'].update(layered.properties(record))
        return metadata

    # -- moves to other hosts

    def check_can_live_migrate_destination(self, context, instance,
                                           src_compute_info, dst_compute_info,
                                           block_migration=False,
                                           disk_over_commit=False):
        flexmem = self._destination.concerns(instance)
        if flexmem:
            self._destination.check()
        data = super().check_can_live_migrate_destination(
            context, instance, src_compute_info, dst_compute_info,
            block_migration, disk_over_commit)
        if flexmem:
            migratedata.offer(data)
        return data

    def check_can_live_migrate_source(self, context, instance,
                                      dest_check_data,
                                      block_device_info=None):
        record = self._record(instance)
        if record:
            self._source.check(instance, record, dest_check_data,
                               self._live_migration_flags)
        elif migratedata.is_offered(dest_check_data):
            migratedata.withdraw(dest_check_data)
        return super().check_can_live_migrate_source(
            context, instance, dest_check_data, block_device_info)

    def check_source_migrate_data_at_dest(self, ctxt, instance, migrate_data,
                                          migration, limits, allocs):
        migratedata.take_facts(migrate_data)
        return super().check_source_migrate_data_at_dest(
            ctxt, instance, migrate_data, migration, limits, allocs)

    def pre_live_migration(self, context, instance, block_device_info,
                           network_info, disk_info, migrate_data):
        if (not self._destination.concerns(instance) or
                migratedata.is_withdrawn(migrate_data)):
            return super().pre_live_migration(
                context, instance, block_device_info, network_info, disk_info,
                migrate_data)
        files = self._destination.prepare(context, instance, migrate_data)
        migrate_data = super().pre_live_migration(
            context, instance, block_device_info, network_info, disk_info,
            migrate_data)
        self._destination.receive(instance, migrate_data, *files)
        return migrate_data

    def _live_migration_operation(self, context, instance, dest,
                                  block_migration, migrate_data, guest,
                                  device_names):
        operate = functools.partial(
            super()._live_migration_operation, context, instance, dest,
            block_migration, migrate_data)
        if not self._record(instance):
            operate(guest, device_names)
            return
        with live_migration.surviving(guest, instance):
            operate(self._source.departing(guest, migrate_data), device_names)

    def post_live_migration_at_source(self, context, instance, network_info):
        super().post_live_migration_at_source(context, instance, network_info)
        if self._destination.concerns(instance):
            self._release(instance)

    def post_live_migration_at_destination(self, context, instance,
                                           network_info,
                                           block_migration=False,
                                           block_device_info=None):
        super().post_live_migration_at_destination(
            context, instance, network_info, block_migration,
            block_device_info)
        with errors.logged('A FlexMem instance that has come'):
            record = mark.record_of(instance)
            if record:
                self._destination.arrived(instance, record)

    def rollback_live_migration_at_destination(self, context, instance,
                                               network_info,
                                               block_device_info,
                                               destroy_disks=True,
                                               migrate_data=None):
        try:
            super().rollback_live_migration_at_destination(
                context, instance, network_info, block_device_info,
                destroy_disks, migrate_data)
        finally:
            if self._destination.concerns(instance):
                self._release(instance)

    def migrate_disk_and_power_off(self, context, instance, dest, flavor,
                                   network_info, block_device_info=None,
                                   timeout=0, retry_interval=0):
        record = self._record(instance)
        with errors.refusing():
            moves.check(context, self.virtapi.reportclient, instance, record,
                        flavor)
        disk_info = super().migrate_disk_and_power_off(
            context, instance, dest, flavor, network_info, block_device_info,
            timeout, retry_interval)
        if record:
            self._send_record(instance, dest)
        return disk_info

    def _send_record(self, instance, dest):
        folder = libvirt_utils.get_instance_path(instance)
        old_folder = f'{folder}_resize'
        shared = os.path.isdir(folder)
        try:
            libvirt_utils.copy_image(
                os.path.join(old_folder, record_module.NAME),
                os.path.join(folder, record_module.NAME),
                host=None if shared else dest)
        except Exception:
            # without it the delta would be taken for a stock root disk
            self._cleanup_remote_migration(dest, folder, old_folder, shared)
            raise

    @staticmethod
    def _disk_raw_to_qcow2(path):
        folder, name = os.path.split(path)
        if record_module.read(folder) is not None and (
                name == 'disk' or  # has its format from rootdisk.provide()
                # with use_cow_images Nova converts disks also on hosts that
                # keep them raw, and has the guest read the qcow2 file as raw
                CONF.libvirt.images_type in ('raw', 'flat')):
            return
        libvirt_driver.LibvirtDriver._disk_raw_to_qcow2(path)

    def confirm_migration(self, context, migration, instance, network_info):
        super().confirm_migration(context, migration, instance, network_info)
        if not moves.left_on_disk(instance.uuid):
            self._release(instance)

    def _release(self, instance):
        with errors.logged(f'Giving back the base of {instance.uuid}'):
            self._bases.release(instance)

    def _record(self, instance):
        """Return the Record of an instance, or None for a stock one."""
        if instance.uuid in self._plans:  # it is being spawned
            plan = self._plans[instance.uuid]
            return plan and plan.record
        with errors.shown():
            return mark.record_of(instance)
