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

# Usage: tools/test.sh SUITE...  (suites: static, docs, unit, functional,
#                                functional-long, lifecycle,
#                                lifecycle-long, upgrade, cloud, cloud-all,
#                                cloud-long, moves, moves-mixed, ceph,
#                                ceph-all, lifecycle-ceph, memory, nova)
#
# Runs every suite named, also after one failed, and closes with the time that
# each took and the count of tests that the runner recorded. Suites run beside
# each other, so that no processor waits, unless memory is short. Needs
# tools/setup.sh test first.

set -uo pipefail
cd "$(dirname "$0")/.." || exit
PATH="$PWD/.venv/bin:$PATH"
export PYTHONUNBUFFERED=1

BEGAN=${BEGAN:-$EPOCHSECONDS}
RESULTS=$(mktemp -d)
mkdir "$RESULTS/tests"
trap 'rm -rf "$RESULTS"' EXIT

# Of the memory that suites beside each other take
BESIDE_KIB=$((10 << 20))

run_static() {
    pre-commit run --all-files
}

run_docs() {
    sphinx-build -q -E -W --keep-going -b html doc/source doc/build/html
}

run_unit() {
    mkdir "$RESULTS/tests/unit"
    stestr --repo-url "$RESULTS/tests/unit" run
}

run_functional() {
    short_tests functional --exclude-regex test_host_memory
}

run_functional-long() {
    long_tests functional
}

run_lifecycle() {
    short_tests lifecycle
}

run_lifecycle-long() {
    long_tests lifecycle
}

# Alone, and on a host with nothing else to do: it measures the host's memory
run_memory() {
    guest_tests memory functional --serial tests.functional.test_host_memory
}

# The rest of tests/upgrade takes longer: make upgrade-test
run_upgrade() {
    mkdir "$RESULTS/upgrade"
    stestr --repo-url "$RESULTS/upgrade" --test-path tests/upgrade \
        run --serial tests.upgrade.test_layouts
}

# Nova's own tests of its libvirt driver, on ours. Some of them wait for 10 s for
# what takes longer on a busy host. The lock of their CellDatabases may stop one
# for ever.
run_nova() {
    mkdir "$RESULTS/tests/nova"
    OS_TEST_TIMEOUT=300 GROUP_REGEX='(.+)' tools/twice.sh "$RESULTS/tests/nova" tests/nova
}

# Usage: short_tests FOLDER ARGUMENT...
short_tests() {
    guest_tests "$1" "$1" --worker-file "tests/$1/workers.yaml" \
        --exclude-list "tests/$1/long.txt" "${@:2}"
}

# Usage: long_tests FOLDER
long_tests() {
    guest_tests "$1-long" "$1" --serial --include-list "tests/$1/long.txt"
}

# Usage: guest_tests SUITE FOLDER ARGUMENT...
guest_tests() {
    local repository="$RESULTS/tests/$1"
    mkdir "$repository"
    # without KVM, now and then a guest's kernel panics on a busy host
    python -m tests.functional.run tools/twice.sh "$repository" \
        "tests/$2" "${@:3}"
}

run_cloud() {
    cloud_tests cloud tests.cloud.test_fast
}

run_cloud-all() {
    cloud_tests cloud-all --exclude-list tests/cloud/long.txt
}

run_cloud-long() {
    cloud_tests cloud-long --include-list tests/cloud/long.txt
}

# All that moves servers, with a newer QEMU and libvirt on both hosts
run_moves() {
    newer_cloud_tests moves 'node1 node2' \
        'test_(live_migration|maintenance|move_|shared_folders)'
}

# The same where one host has the distribution's own
run_moves-mixed() {
    newer_cloud_tests moves-mixed node2 test_live_migration
}

# Usage: newer_cloud_tests SUITE NODES REGEX
newer_cloud_tests() {
    local folder
    folder=$(mktemp -d -p /var/tmp) || return
    # what is mounted is not removed
    # shellcheck disable=SC2064
    trap "umount '$folder/usr'; rm -rf --one-file-system '$folder'" RETURN
    tools/newer_usr.sh "$folder" || return
    FLEXMEM_CLOUD_USR=$folder/usr FLEXMEM_CLOUD_USR_NODES=$2 \
        cloud_tests "$1" "$3"
}

# Root disks and records in a real Ceph, without guests
run_ceph() {
    ceph_tests ceph --exclude-regex test_killed
}

run_ceph-all() {
    ceph_tests ceph-all
}

# Usage: ceph_tests SUITE ARGUMENT...
ceph_tests() {
    local repository="$RESULTS/tests/$1"
    mkdir "$repository"
    stestr --repo-url "$repository" --test-path tests/ceph run --serial \
        "${@:2}"
}

# Guests with root disks in a real Ceph
run_lifecycle-ceph() {
    guest_tests lifecycle-ceph lifecycle --serial test_rbd
}

cloud_tests() {
    local repository="$RESULTS/tests/$1"
    mkdir "$repository"
    python -m tests.cloud.run tools/twice.sh "$repository" \
        tests/cloud --serial "${@:2}"
}

# All runs of all suites, in their order
recorded() {
    local repository number
    for repository in "$RESULTS"/tests/*; do
        for number in 0 1; do
            if [[ -e $repository/.stestr/$number ]]; then
                stestr --repo-url "$repository" \
                    history show "$number" --subunit
            fi
        done
    done
}

# Usage: one_after_the_other SUITE...
one_after_the_other() {
    local suite began code
    for suite in "$@"; do
        began=$EPOCHSECONDS
        printf '\n==== %s\n' "$suite"
        # an interrupt ends the suite, and its last words are still shown
        "run_$suite" 2>&1 | (trap '' INT
            exec sed -u "s/^/${LABEL:+$suite: }/")
        code=${PIPESTATUS[0]}
        printf '%-16s %5d s%s\n' "$suite" $((EPOCHSECONDS - began)) \
            "$([[ $code == 0 ]] || echo '  failed')" >> "$RESULTS/times"
    done
}

# Those in one line use the same things; those of several lines nothing in
# common but the processors and libvirt
beside_each_other() {
    local suite guests=() others=() lines=()
    for suite in "$@"; do
        case $suite in
        functional* | lifecycle* | cloud*) guests+=("$suite") ;;
        *) others+=("$suite") ;;
        esac
    done
    set -m # an interrupt is for all of a line, and ignored by none
    one_after_the_other "${guests[@]}" < /dev/null & lines+=($!)
    one_after_the_other "${others[@]}" < /dev/null & lines+=($!)
    # those that have ended are no longer there
    trap 'kill -INT -- "${lines[@]/#/-}" 2> /dev/null' INT TERM
    until wait "${lines[@]}"; [[ -z $(jobs -r) ]]; do :; done
    trap - INT TERM
    set +m
}

memory_is_short() {
    [[ $(awk '/^MemAvailable/ { print $2 }' /proc/meminfo) -lt $BESIDE_KIB ]]
}

# One libvirt, and one look at KVM, for all suites
if [[ $# -gt 1 && $EUID == 0 && -z ${FLEXMEM_TEST_STORE:-} ]]; then
    rm -rf "$RESULTS"
    export BEGAN
    exec python -m tests.functional.run tools/test.sh "$@"
fi

LABEL=
ALONE=()
BESIDE=()
for suite in "$@"; do
    if [[ $suite == memory || $# == 1 ]] || memory_is_short; then
        ALONE+=("$suite")
    else
        BESIDE+=("$suite")
    fi
done
if [[ ${#BESIDE[@]} -gt 0 ]]; then
    LABEL=yes
    beside_each_other "${BESIDE[@]}"
    LABEL=
fi
one_after_the_other "${ALONE[@]}"

printf '\n==== all suites, %d s\n' $((EPOCHSECONDS - BEGAN))
sort -k 2nr "$RESULTS/times"
if compgen -G "$RESULTS/tests/*" > /dev/null; then
    recorded | python tools/count_tests.py || exit
fi
# an interrupted suite has no time
! grep -q failed "$RESULTS/times" && [[ $(wc -l < "$RESULTS/times") -eq $# ]]
