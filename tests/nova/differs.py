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

"""Which of Nova's tests fail, and why."""

_UNIT = 'nova.tests.unit.virt.libvirt.test_driver'

_RELEASE = ('the test says which paths os.path.exists() is asked for, and the'
            ' driver also asks for those of the base store, to give a base'
            ' back')
_EXTRA_SPECS = ('the flavor of the test has no extra specs, and the driver'
                ' reads them before a resize')
_NO_INSTANCE = ('the instance of the test has no uuid or is a dict, and the'
                ' driver looks into its folder')


def _of(test_class, reason, names):
    """Return {test id: reason} of tests of one class."""
    return {f'{test_class}.{name}': reason for name in names.split()}


#: Tests that the FlexMem driver fails by design: {test id: reason}.
BY_DESIGN: dict[str, str] = {
    **_of(f'{_UNIT}.LibvirtDriverTestCase', _RELEASE, """
        test_delete_instance_files
        test_delete_instance_files_concurrent
        test_delete_instance_files_kill_running
        test_delete_instance_files_none
        test_delete_instance_files_resize
        test_delete_instance_files_resume
    """),
    **_of(f'{_UNIT}.LibvirtDriverTestCase', _EXTRA_SPECS, """
        test_migrate_disk_and_power_off
        test_migrate_disk_and_power_off_boot_from_volume
        test_migrate_disk_and_power_off_boot_from_volume_backed_snapshot
        test_migrate_disk_and_power_off_exception
        test_migrate_disk_and_power_off_non_shared_storage
        test_migrate_disk_and_power_off_resize_cannot_ssh
        test_migrate_disk_and_power_off_resize_copy_disk_info
        test_migrate_disk_and_power_off_resize_error_eph
        test_migrate_disk_and_power_off_shared_storage
        test_migrate_disk_and_power_off_swap
    """),
    **_of(f'{_UNIT}.LibvirtConnTestCase', _NO_INSTANCE, """
        test_create_snapshot_metadata
        test_post_live_migration_at_destination
        test_rollback_live_migration_at_dest_not_shared
        test_rollback_live_migration_at_dest_shared
        test_sanitize_log_to_xml
    """),
}

#: Tests that Nova's own driver fails here as well: {test id: reason}.
STOCK: dict[str, str] = {}

_LOCK = ("the test's own periodic tasks hold the lock of the fixture"
         ' CellDatabases and wait for a thread that wants it, while the test'
         ' waits to have it alone; it ends only if it is quick enough')

#: Tests that may stop for ever, and are not run: {test id: reason}.
STUCK = _of('nova.tests.functional.libvirt.test_numa_live_migration.'
            'NUMALiveMigrationRollbackTests', _LOCK, """
        test_bug_1894095_post_drop
        test_bug_1894095_pre_drop
        test_rollback_pinned_dest
""")
