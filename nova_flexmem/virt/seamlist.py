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

"""What this package uses of Nova's, apart from the methods it overrides.

A unit test finds the uses in the source, and fails if one is not listed here,
or is listed and no longer there.
"""

#: By module, class or object: what has to be there. Of what is called, the
#: names of the positional arguments, as Nova has them, then keywords with "=".
USED = {
    'nova.api.validation.extra_specs.base': (
        'ExtraSpecValidator(description=, name=, value=)',),
    'nova.compute.manager.ComputeManager': (
        '_do_rebuild_instance',),
    'nova.compute.manager.ComputeVirtAPI': (
        'reportclient',),
    'nova.compute.power_state': (
        'SHUTDOWN',),
    'nova.compute.provider_tree.ProviderTree': (
        'add_traits',
        'remove_traits'),
    'nova.compute.task_states': (
        'REBUILD_SPAWNING', 'RESIZE_FINISH', 'RESIZE_REVERTING', 'SHELVING'),
    'nova.compute.utils': (
        'EventReporter(context, event_name, host)',
        'convert_mb_to_ceil_gb(mb_value)'),
    'nova.compute.vm_states': (
        'BUILDING', 'RESIZED', 'SHELVED_OFFLOADED'),
    'nova.conf': (
        'CONF',),
    'nova.conf.CONF': (
        'devices.enabled_mdev_types',
        'host',
        'image_cache.remove_unused_base_images',
        'instances_path',
        'libvirt.images_rbd_pool',
        'libvirt.images_type',
        'libvirt.inject_partition',
        'libvirt.virt_type',
        'workarounds.disable_libvirt_livesnapshot'),
    'nova.conf.devices': (
        'register_dynamic_opts(conf)',),
    'nova.context': (
        'get_admin_context()',
        'is_cell_failure_sentinel(record)',
        'scatter_gather_cells(context, cell_mappings, timeout, fn, '
        'expected_attrs=, limit=, sort_dirs=, sort_keys=)',
        'target_cell(context, cell_mapping)'),
    'nova.exception': (
        'BuildRequestNotFound',
        'ComputeResourcesUnavailable(reason=)',
        'FlavorDiskSmallerThanImage(flavor_size=, image_size=)',
        'ImageNotAuthorized',
        'ImageNotFound',
        'ImageUnacceptable(image_id=, reason=)',
        'InstanceActionNotFound',
        'InstanceFaultRollback(inner_exception=)',
        'InstanceMappingNotFound',
        'InstanceNotFound',
        'Invalid(message)',
        'MigrationPreCheckError(reason=)',
        'NovaException'),
    'nova.image.glance.API': (
        'get(context, id_or_uri)',),
    'nova.objects': (
        'register_all()',),
    'nova.objects.BuildRequest': (
        'get_by_instance_uuid(context, instance_uuid)',),
    'nova.objects.CellMapping': (
        'get_by_uuid(context, uuid)',),
    'nova.objects.Flavor': (
        'extra_specs',
        'memory_mb',
        'name',
        'root_gb',
        'vcpus'),
    'nova.objects.ImageMeta': (
        'from_image_ref(context, image_api, image_ref)',
        'from_instance(instance)',
        'id',
        'obj_attr_is_set(attrname)',
        'properties'),
    'nova.objects.Instance': (
        'cleaned',
        'flavor',
        'get_by_uuid(context, uuid, expected_attrs)',
        'host',
        'image_meta',
        'image_ref',
        'kernel_id',
        'migration_context',
        'mutated_migration_context()',
        'obj_clone()',
        'pci_requests',
        'project_id',
        'ramdisk_id',
        'save()',
        'system_metadata',
        'task_state',
        'trusted_certs',
        'uuid',
        'vm_state'),
    'nova.objects.InstanceList': (
        'get_by_filters(context, filters, expected_attrs=)',),
    'nova.objects.InstanceMapping': (
        'get_by_instance_uuid(context, instance_uuid)',),
    'nova.objects.Migration': (
        'dest_compute',
        'dest_node',
        'get_by_id(context, migration_id)'),
    'nova.objects.RequestSpec': (
        'get_by_instance_uuid(context, instance_uuid)',),
    'nova.privsep.path': (
        'chown',),
    'nova.safe_utils': (
        'get_wrapped_function(function)',),
    'nova.scheduler.client.report.SchedulerReportClient': (
        'get_provider_by_name(context, name)',
        'get_provider_traits(context, rp_uuid)'),
    'nova.scheduler.utils': (
        'get_weight_multiplier(host_state, multiplier_name, '
        'multiplier_config)',),
    'nova.scheduler.weights': (
        'BaseHostWeigher',),
    'nova.storage.rbd_utils': (
        'RADOSClient(driver)',
        'RBDVolumeProxy(driver, name, read_only=)',
        'RbdProxy()'),
    'nova.storage.rbd_utils.RBDDriver': (
        'cleanup_volumes(filter_fn)',
        'destroy_volume(volume)',
        'exists(name)',
        'get_fsid()'),
    'nova.utils': (
        'SM_IMAGE_PROP_PREFIX',),
    'nova.virt.configdrive': (
        'required_by(instance)',),
    'nova.virt.hardware': (
        'get_mem_encryption_constraint(flavor, image_meta)',
        'get_secure_boot_constraint(flavor, image_meta)'),
    'nova.virt.images': (
        'fetch(context, image_href, path, trusted_certs)',),
    'nova.virt.libvirt.blockinfo': (
        'get_disk_info(virt_type, instance, image_meta, '
        'block_device_info)',),
    'nova.virt.libvirt.driver': (
        'LibvirtDriver',
        'libvirt'),
    'nova.virt.libvirt.driver.LibvirtDriver': (
        '__init__(virtapi, read_only)',
        '_cleanup(context, instance, network_info, block_device_info, '
        'cleanup_instance_dir=, cleanup_instance_disks=)',
        '_cleanup_remote_migration(dest, inst_base, inst_base_resize, '
        'shared_storage)',
        '_create_and_inject_local_root(context, instance, disk_mapping, '
        'booted_from_volume, suffix, disk_images, injection_info, '
        'fallback_from_host)',
        '_create_snapshot_metadata',
        '_disk_raw_to_qcow2(path)',
        '_get_disk_size_reserved_for_image_cache()',
        '_get_guest_xml',
        '_get_instance_disk_info_from_config(guest_config, '
        'block_device_info)',
        '_hard_reboot',
        '_host',
        '_image_api',
        '_is_booted_from_volume(block_device_info)',
        '_live_migration_flags',
        '_live_migration_operation(context, instance, dest, '
        'block_migration, migrate_data, guest, device_names)',
        '_vgpu_allocations(allocations)',
        'attach_interface(context, instance, image_meta, vif)',
        'cache_image(context, image_id)',
        'check_can_live_migrate_destination(context, instance, '
        'src_compute_info, dst_compute_info, block_migration, '
        'disk_over_commit)',
        'check_can_live_migrate_source(context, instance, '
        'dest_check_data, block_device_info)',
        'check_source_migrate_data_at_dest(ctxt, instance, migrate_data, '
        'migration, limits, allocs)',
        'cleanup_host(host)',
        'confirm_migration(context, migration, instance, network_info)',
        'delete_instance_files(instance)',
        'get_available_resource(nodename)',
        'get_info(instance)',
        'image_backend',
        'init_host(host)',
        'instance_exists(instance)',
        'manage_image_cache(context, all_instances)',
        'migrate_disk_and_power_off(context, instance, dest, flavor, '
        'network_info, block_device_info, timeout, retry_interval)',
        'post_live_migration_at_destination(context, instance, '
        'network_info, block_migration, block_device_info)',
        'post_live_migration_at_source(context, instance, network_info)',
        'power_off(instance, timeout, retry_interval)',
        'pre_live_migration(context, instance, block_device_info, '
        'network_info, disk_info, migrate_data)',
        'rescue(context, instance, network_info, image_meta, '
        'rescue_password, block_device_info, share_info)',
        'resume(context, instance, network_info, block_device_info, '
        'share_info)',
        'rollback_live_migration_at_destination(context, instance, '
        'network_info, block_device_info, destroy_disks, migrate_data)',
        'snapshot(context, instance, image_id, update_task_state)',
        'spawn',
        'suspend(context, instance)',
        'update_provider_tree(provider_tree, nodename, allocations)',
        'virtapi'),
    'nova.virt.libvirt.host.Host': (
        'get_connection()',
        'get_guest(instance)',
        'get_version()',
        'list_guests()'),
    'nova.virt.libvirt.imagebackend.Backend': (
        'by_name(instance, name, disk_info_mapping=)',),
    'nova.virt.libvirt.imagebackend.Flat': (
        '_get_driver_format',
        'disk_info_path',
        'driver_format',
        'path',
        'preallocate',
        'resolve_driver_format()'),
    'nova.virt.libvirt.imagebackend': (
        'Rbd(disk_name=, instance=, path=)',),
    'nova.virt.libvirt.imagebackend.Rbd': (
        '_get_parent_pool(context, base_image_id, fsid)',
        'clone(context, image_id_or_uri)',
        'driver',
        'flatten()',
        'get_disk_size(name)',
        'resize_image(size)'),
    'nova.virt.libvirt.utils': (
        'RESIZE_SNAPSHOT_NAME',
        'copy_image(src, dest, host=, receive=)',
        'get_arch(image_meta)',
        'get_instance_path(instance)',
        'get_instance_path_at_destination(instance, migrate_data)',
        'get_machine_type(image_meta)'),
}
