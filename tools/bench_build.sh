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


# Usage: [ROUNDS=3] tools/bench_build.sh IMAGE [FORMAT]
#
# Compares building a base with what it takes to get at an image's files with
# libguestfs's own tools: its inspection, and virt-tar-out of all files. They
# take turns, so that other load of the machine meets all of them.

set -euo pipefail
cd "$(dirname "$0")/.."
IMAGE=$1
FORMAT=${2:-qcow2}
FOLDER=$(mktemp -d -p /var/tmp)
trap 'rm -rf "$FOLDER"' EXIT
export LIBGUESTFS_BACKEND=direct LIBGUESTFS_CACHEDIR=$FOLDER
if ! .venv/bin/python -c 'import sys; from nova_flexmem import accel
sys.exit(not accel.kvm_works())' 2> /dev/null; then
    export LIBGUESTFS_BACKEND_SETTINGS=force_tcg
fi

seconds() {
    local began=$EPOCHREALTIME
    "$@" > "$FOLDER/log" 2>&1 || { cat "$FOLDER/log" >&2; return 1; }
    awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $began }"
}

inspection() {
    guestfish --ro --format="$FORMAT" -a "$IMAGE" -i -- exit
}

flexmem() {
    .venv/bin/nova-flexmem --store "$FOLDER/store" "$@"
}

# libguestfs's own appliance is made before, and so is that of builds
guestfish -a /dev/null run
first_s=$(seconds flexmem image build "$IMAGE")
for ((round = 1; round <= ${ROUNDS:-3}; round++)); do
    inspect_s=$(seconds inspection)
    tar_s=$(seconds virt-tar-out --format="$FORMAT" -a "$IMAGE" / \
        "$FOLDER/tar")
    tar_mib=$(($(stat -c %s "$FOLDER/tar") >> 20))
    rm "$FOLDER/tar"
    flexmem image remove "$(flexmem image list -f value -c Base)" \
        > "$FOLDER/log"
    build_s=$(seconds flexmem image build "$IMAGE")
    awk "BEGIN { printf \"%.2f\n\", $build_s / ($inspect_s + $tar_s) }" \
        >> "$FOLDER/ratios"
    echo "round $round: inspection $inspect_s s, virt-tar-out $tar_s s" \
        "($tar_mib MiB), build $build_s s"
done
echo "build / (inspection + virt-tar-out):" \
    "$(sort -n "$FOLDER/ratios" | awk '{ all[NR] = $1 } END {
        printf "median %.2f (%.2f to %.2f)", all[int((NR + 1) / 2)], all[1],
            all[NR] }')"
echo "the first build, with what is done once: $first_s s"
