#!/bin/bash
#
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

# DevStack sources this file with a mode and a phase, after devstack/settings.
# The phase pre-install has nothing to do, because devstack reads
# files/bindep.txt itself. unstack.sh has nothing to do, because the plugin
# starts no process.

_XTRACE_FLEXMEM=$(set +o | grep xtrace)
set +o xtrace

function flexmem_install {
    if is_service_enabled n-cpu; then
        install_bindep "$FLEXMEM_DIR/bindep.txt"
        flexmem_open_kernels /boot/vmlinuz-*
        flexmem_open_kvm
    fi
    if is_service_enabled n-cpu; then
        setup_develop "$FLEXMEM_DIR" compute
    elif is_service_enabled n-api n-sch; then
        # nova-api checks the extra specs of flavors with it, and
        # nova-scheduler weighs hosts
        setup_develop "$FLEXMEM_DIR"
    fi
}

# libguestfs boots a kernel of the host. On Ubuntu only root can read kernels,
# and nova-compute is not root.
function flexmem_open_kernels {
    local kernel
    for kernel in "$@"; do
        if [[ -e $kernel && ! -r $kernel ]]; then
            sudo chmod 0644 "$kernel"
        fi
    done
}

# nova-compute builds bases with KVM, so devstack's user needs it. For
# instances, only QEMU's user does.
function flexmem_open_kvm {
    if getent group kvm > /dev/null; then
        add_user_to_group "$STACK_USER" kvm
    fi
}

# devstack copies nova.conf to nova-cpu.conf after this phase and would
# overwrite options that are in nova-cpu.conf now.
function flexmem_configure_compute {
    # this devstack function writes to nova.conf in the background
    async_wait configure_neutron_nova
    iniset "$NOVA_CONF" DEFAULT config_source flexmem
    iniset "$NOVA_CONF" DEFAULT compute_driver flexmem.FlexMemDriver
    iniset "$NOVA_CONF" flexmem driver flexmem
    iniset "$NOVA_CONF" flexmem store_path "$FLEXMEM_STORE_PATH"
    # QEMU's user has to pass this folder
    sudo install -d -o "$STACK_USER" -m 0755 "$FLEXMEM_STORE_PATH"
}

function flexmem_configure_scheduler {
    async_wait configure_neutron_nova
    iniset "$NOVA_CONF" filter_scheduler weight_classes \
        "$FLEXMEM_WEIGHT_CLASSES"
}

# Files of the host that the profiles of domains and virt-aa-helper include
FLEXMEM_APPARMOR_LOCAL=(
    abstractions/libvirt-qemu
    usr.lib.libvirt.virt-aa-helper
)

# Lets QEMU map bases where AppArmor confines it.
function flexmem_install_apparmor {
    local name path
    path=$(realpath -m "$FLEXMEM_STORE_PATH")
    sed "s#/var/lib/nova-flexmem#$path#" \
        "$FLEXMEM_DIR/etc/apparmor/nova-flexmem" |
        sudo tee "$FLEXMEM_APPARMOR_DIR/abstractions/nova-flexmem" > /dev/null
    for name in "${FLEXMEM_APPARMOR_LOCAL[@]}"; do
        sudo install -d \
            "$(dirname "$FLEXMEM_APPARMOR_DIR/local/$name")"
        if ! grep -qs abstractions/nova-flexmem \
                "$FLEXMEM_APPARMOR_DIR/local/$name"; then
            echo "include <abstractions/nova-flexmem>" |
                sudo tee -a "$FLEXMEM_APPARMOR_DIR/local/$name" > /dev/null
        fi
    done
    flexmem_reload_apparmor
}

# Removes the includes before the file that they include.
function flexmem_remove_apparmor {
    local name
    for name in "${FLEXMEM_APPARMOR_LOCAL[@]}"; do
        if [[ -e $FLEXMEM_APPARMOR_DIR/local/$name ]]; then
            sudo sed -i '/abstractions\/nova-flexmem/d' \
                "$FLEXMEM_APPARMOR_DIR/local/$name"
        fi
    done
    sudo rm -f "$FLEXMEM_APPARMOR_DIR/abstractions/nova-flexmem"
    flexmem_reload_apparmor
}

# Profiles of domains need no reload: libvirt writes them at each start.
function flexmem_reload_apparmor {
    local profile=$FLEXMEM_APPARMOR_DIR/usr.lib.libvirt.virt-aa-helper
    if [[ -e $profile && -e /sys/kernel/security/apparmor/profiles ]]; then
        sudo apparmor_parser -r "$profile"
    fi
}

function flexmem_load_metadefs {
    "$GLANCE_BIN_DIR/glance-manage" \
        --config-file "$GLANCE_CONF_DIR/glance-api.conf" \
        db_load_metadefs "$FLEXMEM_DIR/etc/metadefs"
}

# Usage: flexmem_create_flavor NAME RAM_MIB DISK_GIB
function flexmem_create_flavor {
    if ! openstack --os-cloud devstack-admin flavor show "$1" > /dev/null 2>&1
    then
        openstack --os-cloud devstack-admin flavor create "$1" --id "$1" \
            --vcpus 1 --ram "$2" --disk "$3" \
            --property hw_rng:allowed=True \
            --property flexmem:policy=required \
            --property trait:CUSTOM_FLEXMEM=required
    fi
}

function flexmem_check {
    local status=0
    "$NOVA_BIN_DIR/nova-flexmem-status" --config-file "$NOVA_CPU_CONF" \
        upgrade check || status=$?
    # 1 stands for warnings
    if [[ $status -gt 1 ]]; then
        die $LINENO "FlexMem instances cannot run on this host"
    fi
}

function flexmem_configure_tempest {
    iniset "$TEMPEST_CONFIG" compute-feature-enabled live_migration True
    iniset "$TEMPEST_CONFIG" compute-feature-enabled suspend True
    iniset "$TEMPEST_CONFIG" flexmem flavor_ref flexmem.small
    iniset "$TEMPEST_CONFIG" flexmem flavor_ref_alt flexmem.medium
    if is_service_enabled n-cpu; then
        # works if this is the only host that runs instances
        iniset "$TEMPEST_CONFIG" flexmem host_command sudo
    fi
}

if [[ $1 == stack && $2 == install ]]; then
    echo_summary "Installing nova-flexmem"
    flexmem_install
elif [[ $1 == stack && $2 == post-config ]]; then
    if is_service_enabled n-cpu; then
        echo_summary "Configuring nova-compute for FlexMem"
        flexmem_configure_compute
        if [[ -d $FLEXMEM_APPARMOR_DIR/abstractions ]]; then
            flexmem_install_apparmor
        fi
    fi
    if is_service_enabled n-sch; then
        flexmem_configure_scheduler
    fi
    # only where devstack has created Glance's database
    if is_service_enabled g-api \
            && is_service_enabled "$DATABASE_BACKENDS"; then
        flexmem_load_metadefs
    fi
elif [[ $1 == stack && $2 == extra ]]; then
    if is_service_enabled n-api; then
        echo_summary "Creating flavors of FlexMem"
        flexmem_create_flavor flexmem.small 512 5
        flexmem_create_flavor flexmem.medium 1024 10
    fi
    if is_service_enabled n-cpu; then
        echo_summary "Checking that FlexMem instances can run here"
        flexmem_check
    fi
elif [[ $1 == stack && $2 == test-config ]]; then
    if is_service_enabled tempest; then
        flexmem_configure_tempest
    fi
elif [[ $1 == clean ]]; then
    # unstack.sh, which clean.sh runs first, has ended all instances
    sudo rm -rf "$FLEXMEM_STORE_PATH"
    flexmem_remove_apparmor
fi

$_XTRACE_FLEXMEM
