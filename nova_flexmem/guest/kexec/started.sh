# shellcheck shell=dash disable=SC1091,SC2034,SC2154
# Notes that the kernel that is installed in a server starts it.
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

# Sourced by /init where such a kernel runs, before it hands over. Whoever does
# not get as far as this is started once more, then no longer.

. "$KEXEC/tried.sh"

plan_success() {
    local units=$RUN/systemd/system
    if ! is_systemd; then
        rm -f "$TRIED/$started"
        take_back_panic
        return
    fi
    mkdir -p "$units/multi-user.target.wants"
    cat > "$units/flexmem-kernel.service" << END_OF_UNIT
[Unit]
Description=Note that the kernel starts this server
After=multi-user.target

[Service]
Type=oneshot
ExecStart=/bin/rm -f $TRIED/$started
ExecStart=/bin/sh -c '[ "\$\$(cat /proc/sys/kernel/panic)" != $PANIC_S ] || echo 0 > /proc/sys/kernel/panic'
END_OF_UNIT
    ln -s ../flexmem-kernel.service "$units/multi-user.target.wants/"
}

# Such a file gives all of it to the first read, and shells read byte by byte.
take_back_panic() {
    [ "$(cat "$PROC/sys/kernel/panic")" != "$PANIC_S" ] ||
        echo 0 > "$PROC/sys/kernel/panic"
}
