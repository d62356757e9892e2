# shellcheck shell=dash disable=SC1091,SC2034,SC2154
# Which kernels that are installed in a server its boot loader would start.
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

# Sourced by start.sh. $ROOT shows what the server sees, $LOWER what its image
# has, and $DELTA/upper what was written since.

# Sets $kernel_file to the file of the kernel of release $1.
find_kernel_file() {
    for kernel_file in "$ROOT/boot/vmlinuz-$1" "$ROOT/lib/modules/$1/vmlinuz" \
            "$ROOT/boot/kernel-$1" "$ROOT"/boot/*/"$1/linux"; do
        [ ! -f "$kernel_file" ] || return 0
    done
    return 1
}

# Prints the releases of all kernels, the newest first.
list_kernels() {
    local order=rpm path
    [ ! -f "$ROOT/var/lib/dpkg/status" ] || order=dpkg
    for path in "$ROOT"/lib/modules/* "$ROOT"/boot/vmlinuz-*; do
        path=${path##*/}
        path=${path#vmlinuz-}
        ! find_kernel_file "$path" || echo "$path"
    done | awk -v "order=$order" -f "$KEXEC/order.awk"
}

# Whether the kernel of release $1 was installed in the server. One that came
# with the image was passed over when the base was built, or is its kernel.
is_own_kernel() {
    local path
    find_kernel_file "$1" || return 1
    path=$(readlink -f "$kernel_file")
    path=${path#"$ROOT"}
    [ -f "$DELTA/upper$path" ] && ! cmp -s "$DELTA/upper$path" "$LOWER$path"
}

# Prints the release that the server's boot loader starts by itself, if the
# server has written that down; the image's files name the base's kernel.
find_default() {
    local folder menu saved
    for folder in boot/grub boot/grub2; do
        menu=$ROOT/$folder/grub.cfg
        [ -f "$menu" ] || continue
        [ -f "$DELTA/upper/$folder/grub.cfg" ] ||
            [ -f "$DELTA/upper/$folder/grubenv" ] || continue
        saved=$(sed -n 's/^saved_entry=//p' "$ROOT/$folder/grubenv" \
            2> /dev/null)
        if grep -q '^[[:space:]]*blscfg' "$menu"; then
            awk -f "$KEXEC/release.awk" -f "$KEXEC/bls.awk" \
                "$ROOT/boot/loader/entries/${saved##*/}.conf" 2> /dev/null
        else
            awk -v "saved=$saved" -f "$KEXEC/release.awk" \
                -f "$KEXEC/menu.awk" "$menu"
        fi
        return
    done
}

# For list_candidates: whether to try release $1.
is_candidate() {
    [ "$1" != "$chosen" ] || return 1  # it is first already
    [ "$chosen" = newest ] || [ "$1" = "$first" ] ||
        [ "$1" = "$running" ] || is_own_kernel "$1"
}

# Prints the releases to try, in this order, before the base's kernel.
list_candidates() {
    local chosen='' release='' all first
    [ ! -f "$ROOT/etc/flexmem/kernel" ] ||
        read -r chosen release < "$ROOT/etc/flexmem/kernel"
    all=$(list_kernels)
    case $chosen in
    base)
        return
        ;;
    newest)
        first=
        ;;
    '')
        first=$(find_default)
        ;;
    *)
        first=$chosen
        echo "$chosen"
        ;;
    esac
    # a default that is gone is none
    echo "$all" | grep -qxF -e "$first" || first=
    for release in $all; do
        [ -z "$first" ] || [ "$release" = "$first" ] || continue
        is_candidate "$release" && echo "$release"
        first=
    done
}

# Prints the arguments that the server's boot loader has for release $1.
read_own_args() {
    local file
    for file in "$ROOT/boot/grub/grub.cfg" "$ROOT/boot/grub2/grub.cfg"; do
        [ ! -f "$file" ] ||
            ! awk -v "release=$1" -f "$KEXEC/release.awk" \
                -f "$KEXEC/menu.awk" "$file" || return 0
    done
    for file in "$ROOT"/boot/loader/entries/*.conf; do
        [ ! -f "$file" ] ||
            ! awk -v "release=$1" -v "grubenv=$ROOT/boot/grub2/grubenv" \
                -f "$KEXEC/release.awk" -f "$KEXEC/bls.awk" "$file" || return 0
    done
    return 1
}
