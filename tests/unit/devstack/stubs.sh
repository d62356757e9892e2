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

# What devstack/plugin.sh uses of devstack. Each call is a line in calls; what
# is called for its effect has it, as far as the plugin can tell.

function record {
    echo "$*" >> "$TOP_DIR/calls"
}

function define_plugin {
    record define_plugin "$@"
}

function is_service_enabled {
    local service
    # shellcheck disable=SC2048 # devstack takes words in words
    for service in $*; do
        [[ ,$ENABLED_SERVICES, == *,$service,* ]] && return 0
    done
    return 1
}

function echo_summary {
    record echo_summary "$@"
}

function die {
    shift  # the line number
    echo "die: $*" >&2
    exit 1
}

function install_bindep {
    record install_bindep "$@"
}

function getent {
    [[ "$*" == "group $FLEXMEM_TEST_GROUP" ]]
}

function add_user_to_group {
    record add_user_to_group "$@"
}

function setup_develop {
    record setup_develop "$@"
}

function async_wait {
    record async_wait "$@"
}

# The last of the same option counts in a file of oslo.config
function iniset {
    record iniset "$@"
    printf '[%s]\n%s = %s\n' "$2" "$3" "$4" >> "$1"
}

function sudo {
    record sudo "$@"
    "$@"
}

function openstack {
    record openstack "$@"
    local flavor="$TOP_DIR/flavor-$5"
    if [[ "$3 $4" == "flavor show" ]]; then
        [[ -e $flavor ]]
    elif [[ "$3 $4" == "flavor create" ]]; then
        [[ ! -e $flavor ]] && touch "$flavor"
    fi
}
