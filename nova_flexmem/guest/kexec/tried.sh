# shellcheck shell=dash disable=SC1091,SC2034,SC2154
# How often each kernel that is installed in a server was started in vain.
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

# Sourced by start.sh and started.sh. A file for each release, not in what the
# server sees, with the count, and with size and time of the kernel's file.

TRIED=$DELTA/kernels.tried

# Until the server is up, a panic makes it boot again.
PANIC_S=11

# Sets $tries to how often the kernel of release $1 was started without success.
read_tries() {
    local count line
    tries=0
    [ -f "$TRIED/$1" ] && read -r count line < "$TRIED/$1" || return 0
    [ "$line" = "$2" ] || return 0
    case $count in
    '' | *[!0-9]* | ???*) ;;
    *) tries=$count ;;
    esac
}

write_tries() {
    mkdir -p "$TRIED" && echo "$2 $3" > "$TRIED/$1.new" && sync &&
        mv "$TRIED/$1.new" "$TRIED/$1" && sync
}
