#!/bin/busybox sh
# What programs of the image are told because the root filesystem is not on a
# disk of its own: /init reads this when all mounts are in the new root.
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

# shellcheck disable=SC2154  # set by /init

GRUB_INSTALL=/run/flexmem/grub-install

tell_programs() {
    stand_in_for_grub
    is_systemd || return 0
    tell_cloud_init
    trim_delta
}

# cloud-init warns of a root filesystem that it cannot grow, and its status is
# not 0 then. /init has grown the delta. cloud-init's generator writes this file
# of settings anew at each boot.
tell_cloud_init() {
    local name file=/run/cloud-init/cloud.cfg line='resize_rootfs: false'
    local script="mkdir -p ${file%/*}; grep -qsxF \"$line\" $file"
    script="$script || echo \"$line\" >> $file"
    for name in cloud-init-local cloud-init-main; do
        add_to_unit "$name.service" "[Service]
ExecStartPre=/bin/sh -c '$script'"
    done
}

# fstrim.service does not look further than the fstab if filesystems are there.
trim_delta() {
    [ "$writes" = disk ] || return 0
    add_to_unit fstrim.service "[Service]
ExecStartPost=-/sbin/fstrim --verbose $DELTA"
}

# Adds lines to a unit of the image's, if it has that.
add_to_unit() {
    local folder=$ROOT$RUN/systemd/system/$1.d
    mkdir -p "$folder"
    echo "$2" > "$folder/flexmem.conf"
}

# Packages of Debian run grub-install when they are upgraded, and are left
# half-configured if it fails. A link, which leads nowhere on other servers: the
# delta may become an image.
stand_in_for_grub() {
    local folder=/usr/local/sbin
    [ -z "$read_only" ] && [ -d "$ROOT/var/lib/dpkg" ] &&
        [ "$(readlink -f "$ROOT$folder")" = "$ROOT$folder" ] || return 0
    [ -L "$ROOT$folder/grub-install" ] ||
        [ -e "$ROOT$folder/grub-install" ] ||
        ln -s "$GRUB_INSTALL" "$ROOT$folder/grub-install" || return 0
    cat > "$ROOT$GRUB_INSTALL" << END
#!/bin/sh
# In the place of the image's grub-install, for the root disk alone.
for word in "\$@"; do
    case \$word in
    -h | --help | -V | --version | --boot-directory* | --root-directory*) ;;
    /*) [ "\$(readlink -f "\$word")" != "$source" ] || continue ;;
    *) continue ;;
    esac
    exec /usr/sbin/grub-install "\$@"
done
echo "grub-install: FlexMem starts this server without a boot loader;" \\
    "nothing is installed" >&2
END
    chmod 755 "$ROOT$GRUB_INSTALL"
}
