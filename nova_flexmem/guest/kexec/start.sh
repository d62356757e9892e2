# shellcheck shell=dash disable=SC1091,SC2034,SC2154
# Starts the kernel that was installed in a server in place of the base's.
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

# Sourced by /init where the base's kernel runs and flexmem.kernel=own is on
# its command line. That kernel only looks: what it writes to the delta is how
# often a kernel was tried. The other one gets this initramfs with modules of
# its own, and flexmem.kernel=RELEASE, by which /init knows that it runs.

. "$KEXEC/constants"
. "$KEXEC/tried.sh"
. "$KEXEC/candidates.sh"

MAX_TRIES=2
INITRAMFS=/
NEXT=/next

start_own_kernel() {
    local release all
    running=$(uname -r)
    # what is wrong with the delta is told later, by who mounts it to use it
    mount_delta || return 0
    delta_is_mounted=yes
    if [ -d "$DELTA/upper" ] && mount_view; then
        all=$(list_candidates)
        set -f
        # shellcheck disable=SC2086  # releases have no blanks
        set -- $all
        set +f
        for release in "$@"; do
            [ "$release" != "$running" ] || is_own_kernel "$release" || break
            why=
            try_kernel "$release" ||
                shout "not starting this server's kernel $release: $why"
            rm -rf "$NEXT" "$NEXT.cpio"
            [ -n "$delta_is_mounted" ] || return 0
        done
        umount "$ROOT"
    fi
}

mount_view() {
    mkdir -p "$ROOT"
    mount -t overlay "$source" "$ROOT" -o \
        "ro,lowerdir=$DELTA/upper:$LOWER,redirect_dir=follow,metacopy=off"
}

# Returns if the kernel of release $1 cannot be started, with $why.
try_kernel() {
    local kernel_file id tries line code
    case $1 in
    *[!0-9A-Za-z_.+~-]* | [!0-9]* | '')
        why="that is no name of a kernel"
        return 1
        ;;
    esac
    if ! find_kernel_file "$1"; then
        why="it is not installed"
        return 1
    fi
    # another build of the same release is another kernel
    id=$(stat -L -c '%s %Y' "$kernel_file")
    read_tries "$1" "$id"
    if [ "$tries" -ge "$MAX_TRIES" ]; then
        why="it was started $tries times and did not get to the end of the"
        why="$why boot; to have it tried again, remove $TRIED/$1"
        return 1
    fi
    pack_initramfs "$1" && make_line "$1" || return 1
    kexec "$kernel_file" "$NEXT.cpio" "$line" 2> /dev/null
    code=$?
    if [ "$code" != 0 ]; then
        explain_errno "$code"
        return 1
    fi
    if ! write_tries "$1" $((tries + 1)) "$id"; then
        why="cannot write to the delta"
        return 1
    fi
    say "starting kernel $1, which is installed in this server"
    leave || return 1
}

# The balloon must not give away a page that is another kernel's by then.
leave() {
    local device
    for device in "$SYS"/bus/virtio/drivers/virtio_balloon/virtio*; do
        [ ! -e "$device" ] ||
            echo "${device##*/}" > "${device%/*}/unbind"
    done
    umount "$ROOT" && umount "$DELTA"
    delta_is_mounted=
    kexec
    why="the kernel that was loaded does not start (error $?)"
    return 1
}

explain_errno() {
    case $1 in
    1) why="the image's kernel is locked down, or forbids it" ;;
    8) why="$kernel_file is not a kernel for this machine" ;;
    12) why="there is too little memory" ;;
    38) why="the image's kernel cannot start others (CONFIG_KEXEC_FILE)" ;;
    65 | 74 | 126 | 127 | 128 | 129)
        why="the image's kernel does not accept its signature (error $1)" ;;
    *) why="it cannot be loaded (error $1)" ;;
    esac
}

# Sets $paths to the modules of release $1 that are to be loaded.
find_modules() {
    local folder=$ROOT/lib/modules/$1 device=$virtio_pmem needs missing index
    if [ ! -f "$folder/modules.dep" ]; then
        why="its modules are missing (/lib/modules/$1/modules.dep)"
        return 1
    fi
    case $(cat "$SYS"/bus/nd/devices/ndbus*/provider) in
    *ACPI.NFIT*) device=$nvdimm ;;
    esac
    needs="$needed $rootfs $device"
    set --
    for index in builtin softdep dep alias; do
        [ ! -f "$folder/modules.$index" ] ||
            set -- "$@" "$folder/modules.$index"
    done
    paths=$(awk -v "needed=$needs" -v "wanted=$needs $welcome" \
        -f "$KEXEC/closure.awk" "$@")
    missing=$(echo "$paths" | awk '$1 == "missing" { printf " %s", $2 }')
    if [ -n "$missing" ]; then
        why="it has no$missing"
        return 1
    fi
}

# An initramfs like this one, with the modules of release $1.
pack_initramfs() {
    local path file
    find_modules "$1" || return 1
    mkdir -p "$NEXT/modules" "$NEXT/dev" "$NEXT/proc" "$NEXT/run" "$NEXT/sys"
    : > "$NEXT/modules/order"
    for path in $paths; do
        file=${path##*/}
        file=${file%%.*}.ko
        why="cannot unpack its module $path"
        unpack_module "/lib/modules/$1/$path" > "$NEXT/modules/$file" ||
            return 1
        echo "$file" >> "$NEXT/modules/order"
    done
    # the kernel takes archives one behind the other
    if ! { cd "$INITRAMFS" &&
            find init direct.sh programs.sh bin kexec | cpio -o -H newc &&
            cd "$NEXT" && find . | cpio -o -H newc; } \
            > "$NEXT.cpio" 2> /dev/null; then
        cd /
        why="cannot write its initramfs; there is too little memory"
        return 1
    fi
    cd /
    rm -rf "$NEXT"
}

# Writes the module at the path $1 in the server.
unpack_module() {
    case $1 in
    *.ko) cat "$ROOT$1" ;;
    *.ko.xz) xzcat "$ROOT$1" ;;
    # its exit code is 0 where the end is missing
    *.ko.gz) { [ -z "$(zcat "$ROOT$1" 2>&1 >&3)" ]; } 3>&1 ;;
    *.ko.zst) chroot "$ROOT" zstd -dcq "$1" ;;
    *) false ;;
    esac 2> /dev/null
}

# Sets $line to the command line for release $1: what the server's boot loader
# has for it, else what the image's has; and what the host says, before (its
# defaults) and behind it.
make_line() {
    local args defaults='' rest word
    read -r line < "$PROC/cmdline"
    args=${line%%flexmem.base=*}
    line=flexmem.base=${line#*flexmem.base=}
    rest=$args
    for word in percpu_alloc=page cryptomgr.notests; do
        case $rest in
        "$word "*)
            defaults=$defaults$word' '
            rest=${rest#* }
            ;;
        esac
    done
    if read_own_args "$1" > "$NEXT.args"; then
        args=$(awk -v "dropped=$dropped" -f "$KEXEC/clean.awk" "$NEXT.args")
        args=$defaults$args
    fi
    line="panic=$PANIC_S $args $(echo "$line" |
        sed "s/flexmem\.kernel=[^ ]*/flexmem.kernel=$1/")"
    if [ ${#line} -gt "$max_line" ]; then
        why="its command line is too long"
        return 1
    fi
}
