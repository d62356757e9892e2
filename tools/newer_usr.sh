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

# Usage: tools/newer_usr.sh FOLDER
#
# Makes FOLDER/usr: this machine's /usr with the QEMU and the libvirt of
# Debian's backports in the place of its own, for the hosts of a cloud (see
# tests/cloud/run.py). Nothing is installed. umount FOLDER/usr ends it.

set -euo pipefail

PACKAGES=(qemu-system-x86 qemu-system-common qemu-system-data qemu-utils
    qemu-block-extra seabios ipxe-qemu libvirt-daemon libvirt-daemon-common
    libvirt-daemon-system libvirt-daemon-log libvirt-daemon-lock
    libvirt-daemon-plugin-lockd libvirt-daemon-driver-interface
    libvirt-daemon-driver-network libvirt-daemon-driver-nodedev
    libvirt-daemon-driver-nwfilter libvirt-daemon-driver-qemu
    libvirt-daemon-driver-secret libvirt-daemon-driver-storage
    libvirt-clients libvirt-common libvirt0)

folder=$(realpath -m "$1")
# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
mkdir -p "$folder"/{lists,cache,packages,tree,usr}
# where this machine's packages come from
key=/usr/share/keyrings/debian-archive-keyring.gpg
apt-get indextargets \
    --format "deb [signed-by=$key] \$(REPO_URI) \$(RELEASE) main" \
    'Created-By: Packages' "Codename: $codename" | sort -u |
    sed "p; s| $codename main| $codename-backports main|" \
    > "$folder/sources.list"
own_apt() {
    apt-get -q -o Dir::Etc::sourcelist="$folder/sources.list" \
        -o Dir::Etc::sourceparts=- -o Dir::State::lists="$folder/lists" \
        -o Dir::Cache="$folder/cache" "$@"
}
own_apt update
cd "$folder/packages"
own_apt --target-release "$codename-backports" download "${PACKAGES[@]}"
for package in *.deb; do
    dpkg-deb --extract "$package" "$folder/tree"
done
# libraries that they load by folder: none of the older version
for name in libvirt qemu; do
    setfattr -n trusted.overlay.opaque -v y \
        "$folder/tree/usr/lib/x86_64-linux-gnu/$name"
done
mount -t overlay -o "lowerdir=$folder/tree/usr:/usr" overlay "$folder/usr"
