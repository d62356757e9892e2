#!/bin/busybox sh
# Folders that lie on the delta itself, not on the overlay: /init reads this when
# all mounts are in the new root.
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

mount_direct_folders() {
    local dir
    set -f
    IFS=,
    # shellcheck disable=SC2086
    set -- $direct
    unset IFS
    set +f
    for dir in "$@"; do
        mount_direct "$dir"
    done
    own_direct_folders | while read -r dir; do
        mount_own "$dir"
    done
}

# Prints the folders that the image or its user names: a path in each line of
# /etc/flexmem/direct, in which * stands for a part of a name. A # begins a note.
own_direct_folders() {
    local file=$ROOT/etc/flexmem/direct line
    [ -f "$file" ] && [ "$(readlink -f "$file")" = "$file" ] || return 0
    while read -r line || [ -n "$line" ]; do
        line=${line%%#*}
        line=${line%"${line##*[![:space:]]}"}
        if [ -z "$line" ]; then
            continue
        elif ! is_plain "${line//\*/x}"; then
            say "/etc/flexmem/direct: \"$line\" is no absolute path, or has" \
                "blanks or quotes in it" >&2
        else
            expand "$line"
        fi
    done < "$file"
}

is_plain() {
    case $1 in
    [!/]* | *[!A-Za-z0-9._+@:=%/-]* | *//* | */) false ;;
    */./* | */../* | */. | */..) false ;;
    esac
}

is_needed_early() {
    case $1/ in
    /bin/* | /boot/* | /dev/* | /etc/* | /lib*/* | /proc/* | /run/* | \
            /sbin/* | /sys/* | /usr/*) ;;
    *) false ;;
    esac
}

# Prints the folders that a path with * in it means. What follows the last name
# with a * need not be there.
expand() {
    local head=$1 rest='' dir
    case $1 in
    *\**/*)
        rest=${1##*\*}
        rest=${rest#"${rest%%/*}"}
        head=${1%"$rest"}
        ;;
    *\**) ;;
    *)
        echo "$1"
        return
        ;;
    esac
    for dir in "$ROOT"$head; do
        if [ -d "$dir" ] && [ ! -L "$dir" ] && is_plain "${dir#"$ROOT"}"; then
            echo "${dir#"$ROOT"}$rest"
        fi
    done
}

# The list tells who merges the delta into an image what lies directly on it,
# and a folder that came here whole from one that others made on their way.
mount_own() {
    local list=$ROOT$DELTA/direct.list
    if is_needed_early "$1"; then
        say "$1 is read before it could lie directly on the delta"
        return
    fi
    if ! grep -qxF -e "$1" "$list" 2> /dev/null; then
        if [ -d "$ROOT$DELTA/direct$1" ]; then
            case ,$direct, in
            *,"$1",*) ;;
            *) say "$1 is in a folder that lies directly on the delta," \
                "or holds one; it stays where it is" ;;
            esac
            return
        fi
        [ -n "$read_only" ] || echo "$1" >> "$list"
    fi
    mount_direct "$1"
}

# What the image has in the folder comes along once, and is complete or not
# there.
mount_direct() {
    local own=$DELTA/direct$1 from
    if [ "$(readlink -f "$ROOT$1" || echo "$ROOT$1")" != "$ROOT$1" ]; then
        say "$1 is a symbolic link; it stays on the overlay"
        return
    fi
    if [ -n "$read_only" ]; then
        [ ! -d "$ROOT$own" ] || mount_at "$own" "$1"
        return
    fi
    if [ ! -e "$ROOT$1" ]; then
        make_folder "$1"
        mkdir -p "$ROOT$own"  # nothing to bring along
        chown "$(stat -c %u:%g "$ROOT$1")" "$ROOT$own"
    fi
    if [ ! -d "$ROOT$own" ]; then
        mkdir -p "$ROOT${own%/*}"
        rm -rf "$ROOT$own.new"
        # the overlay hides the whiteouts and marks of overlays, which layers
        # of containers have; what is not changed yet comes from below it
        from=$1
        if [ ! -e "$ROOT$DELTA/upper$1" ] && [ -d "$ROOT$LOWER$1" ]; then
            from=$LOWER$1
        fi
        # a name without its path is busybox's, which knows no attributes
        if ! chroot "$ROOT" /bin/cp -a "$from" "$own.new"; then
            say "cannot copy $1 to the delta; it stays on the overlay"
            return
        fi
        sync
        mv "$ROOT$own.new" "$ROOT$own"
    fi
    mount_at "$own" "$1"
}

# Makes a folder and those above it. They belong to the owner of the one that
# was there: homes may hold containers of users.
make_folder() {
    [ ! -d "$ROOT$1" ] || return 0
    make_folder "${1%/*}"
    mkdir "$ROOT$1"
    chown "$(stat -c %u:%g "$ROOT${1%/*}/.")" "$ROOT$1"
}

mount_at() {
    mount --bind "$ROOT$1" "$ROOT$2"
    plan_mount "$1" "$2"
}

# A unit for systemd, which mounts the folder again when it restarts all but the
# kernel (systemctl soft-reboot). The delta and the base stay mounted then.
plan_mount() {
    local units=$ROOT$RUN/systemd/system name layer
    is_systemd || return 0
    name=$(unit_name "$2").mount
    mkdir -p "$units/local-fs.target.wants"
    cat > "$units/$name" << END
[Unit]
Description=$2, directly on the delta

[Mount]
What=$(doubled "$1")
Where=$(doubled "$2")
Type=none
Options=bind
END
    ln -sf "../$name" "$units/local-fs.target.wants/"
    for layer in "$DELTA" "$LOWER"; do
        name=$units/$(unit_name "$layer").mount.d
        [ ! -d "$name" ] || continue
        mkdir "$name"
        echo "[Unit]
DefaultDependencies=no" > "$name/flexmem.conf"
    done
}

# As systemd-escape --path does it.
unit_name() {
    local name=${1#/} path=''
    while [ -n "$name" ]; do
        case $name in
        /*) path=$path- ;;
        [A-Za-z0-9:_]* | .*) path=$path${name%"${name#?}"} ;;
        *) path=$path$(printf '\\x%02x' "'${name%"${name#?}"}") ;;
        esac
        name=${name#?}
    done
    case $path in
    .*) path=\\x2e${path#.} ;;
    esac
    printf '%s\n' "$path"
}

doubled() {
    printf '%s\n' "${1//%/%%}"
}
