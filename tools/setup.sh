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

# Usage: tools/setup.sh PROFILE...      (profiles: demo, test, cloud, ceph,
#                                      drills, fuzz)
#
# Installs what bindep.txt lists for the profiles and is missing, and makes
# .venv with nova-flexmem in it. Takes seconds where all of it is there.

set -euo pipefail
cd "$(dirname "$0")/.."

# The distribution's own: another python3 may come first in PATH, and may lack
# the headers or be too old.
PYTHON=/usr/bin/python3
POLICY=/usr/sbin/policy-rc.d
POLICY_MARK='# written by nova-flexmem tools/setup.sh, removed at its end'
PACKAGE_LISTS_READ=

say() {
    echo "setup: $*"
}

die() {
    echo "setup: $*" >&2
    exit 1
}

hold_services() {
    # Without systemd as PID 1 (a container) a package cannot start its
    # service properly; dpkg's own way to say so is this file.
    if [[ -d /run/systemd/system ]]; then
        return
    fi
    if [[ -e $POLICY ]] && ! grep -qxF "$POLICY_MARK" "$POLICY"; then
        return
    fi
    trap 'rm -f "$POLICY"' EXIT
    printf '#!/bin/sh\n%s\nexit 101\n' "$POLICY_MARK" > "$POLICY"
    chmod 755 "$POLICY"
}

quietly() {
    # Runs a command; shows what it said only if it failed
    local log
    log=$(mktemp)
    if ! "$@" > "$log" 2>&1 < /dev/null; then
        tail -n 30 "$log" >&2
        die "$1 $2 failed; all that it said is in $log"
    fi
    rm -f "$log"
}

read_package_lists() {
    if [[ -z $PACKAGE_LISTS_READ ]]; then
        quietly apt-get update
        PACKAGE_LISTS_READ=yes
    fi
}

install_packages() {
    [[ $(command -v apt-get) ]] || die "no apt-get here; install by hand: $*"
    [[ $EUID == 0 ]] || die "not root; have root install: $*"
    say "installing Debian packages: $*"
    read_package_lists
    hold_services
    # Others, such as unattended-upgrades, may hold dpkg's lock for a while
    DEBIAN_FRONTEND=noninteractive quietly apt-get install -y \
        --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
}

make_venv() {
    local home
    home="$PWD $($PYTHON --version)"
    if [[ $(cat .venv/home 2> /dev/null) == "$home" ]]; then
        return
    fi
    say "making .venv"
    $PYTHON -m venv --clear .venv
    echo "$home" > .venv/home
}

pip_install() {
    quietly .venv/bin/pip install --disable-pip-version-check "$@"
}

missing_packages() {
    # Prints them, one a line
    local status=0
    .venv/bin/bindep --brief compile "$@" || status=$?
    [[ $status == 0 || $status == 1 ]] || die "bindep failed"
    # libguestfs's appliance boots a kernel of the host, from /boot. A real
    # host has one, a container has not; no package depends on one.
    if ! compgen -G '/boot/vmlinuz-*' > /dev/null; then
        echo linux-image-cloud-amd64
    fi
}

digest() {
    cat tools/setup.sh setup.cfg pyproject.toml requirements.txt \
        test-requirements.txt doc/requirements.txt \
        tests/drills/requirements.txt tests/fuzz/requirements.txt \
        .venv/home | sha256sum
}

install_nova_flexmem() {
    local profile wanted=(--editable '.[demo,prometheus]')
    if ! git rev-parse --quiet --verify HEAD > /dev/null 2>&1; then
        # pbr takes the version from git; this tree came without it
        export PBR_VERSION=1.0.0.dev0
    fi
    for profile in "$@"; do
        if [[ $profile == test ]]; then
            wanted+=(-r test-requirements.txt -r doc/requirements.txt)
        elif [[ $profile == drills || $profile == fuzz ]]; then
            wanted+=(-r "tests/$profile/requirements.txt")
        fi
    done
    say "installing Python packages into .venv"
    pip_install "${wanted[@]}"
}

link_ceph_bindings() {
    # They come with the distribution alone, as a file each that needs no other
    local suffix name folder
    suffix=$($PYTHON -c 'import sysconfig
print(sysconfig.get_config_var("EXT_SUFFIX"))')
    folder=$(.venv/bin/python -c 'import sysconfig
print(sysconfig.get_path("platlib"))')
    for name in rados rbd; do
        ln -sf "/usr/lib/python3/dist-packages/$name$suffix" "$folder/"
    done
}

ready() {
    local profile
    for profile in "$@"; do
        if [[ $(cat ".venv/ready-$profile" 2> /dev/null) != $(digest) ]]; then
            return 1
        fi
    done
}

main() {
    local profile missing
    [[ $# -gt 0 ]] ||
        die "usage: tools/setup.sh demo|test|cloud|ceph|drills|fuzz..."
    [[ $(uname -m) == x86_64 ]] || die "$(uname -m) is not supported: x86_64"
    if ! $PYTHON -c 'import ensurepip, venv' 2> /dev/null; then
        install_packages python3-venv
    fi
    make_venv
    if [[ ! -x .venv/bin/bindep ]]; then
        pip_install "$(grep '^bindep' test-requirements.txt)"
    fi
    missing=$(missing_packages "$@")
    if [[ $missing ]]; then
        # shellcheck disable=SC2086 # one word each
        install_packages $missing
    fi
    if [[ " $* " == *' ceph '* ]]; then
        link_ceph_bindings
    fi
    # The demo's images are made from the sources that apt has lists of
    if [[ -d /var/lib/apt && $EUID == 0 ]]; then
        compgen -G '/var/lib/apt/lists/*_Packages*' > /dev/null ||
            read_package_lists
    fi
    if ! ready "$@"; then
        install_nova_flexmem "$@"
        for profile in "$@"; do
            digest > ".venv/ready-$profile"
        done
        say "done in $SECONDS s"
    fi
}

main "$@"
