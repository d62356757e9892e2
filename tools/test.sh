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
#                                lifecycle, cloud, cloud-all, memory,
#                                functional-more)
#
# Runs every suite named, also after one failed, and closes with the count of
# tests that the runner recorded. Needs tools/setup.sh test first.

set -uo pipefail
cd "$(dirname "$0")/.." || exit
PATH="$PWD/.venv/bin:$PATH"
export PYTHONUNBUFFERED=1

FAILED=()
RESULTS=$(mktemp -d)
trap 'rm -rf "$RESULTS"' EXIT

run_static() {
    pre-commit run --all-files
}

run_docs() {
    sphinx-build -q -E -W --keep-going -b html doc/source doc/build/html
}

run_unit() {
    mkdir "$RESULTS/unit"
    stestr --repo-url "$RESULTS/unit" run
}

run_functional() {
    guest_tests functional functional \
        --worker-file tests/functional/workers.yaml
}

# What takes longest: one more layout of disks, and all files of a flattened
# image
run_functional-more() {
    guest_tests functional-more functional --serial \
        'test_guests\.BookwormLvm|test_flatten\.FlattenGuest'
}

# Alone, and on a host with nothing else to do: it measures the host's memory
run_memory() {
    guest_tests memory functional --serial tests.functional.test_host_memory
}

run_lifecycle() {
    guest_tests lifecycle lifecycle \
        --worker-file tests/lifecycle/workers.yaml
}

# Usage: guest_tests SUITE FOLDER ARGUMENT...
guest_tests() {
    local repository="$RESULTS/$1"
    mkdir "$repository"
    python -m tests.functional.run stestr --repo-url "$repository" \
        --test-path "tests/$2" run "${@:3}"
}

run_cloud() {
    cloud_tests cloud tests.cloud.test_fast
}

run_cloud-all() {
    cloud_tests cloud-all
}

cloud_tests() {
    local repository="$RESULTS/$1"
    mkdir "$repository"
    python -m tests.cloud.run stestr --repo-url "$repository" \
        --test-path tests/cloud run --serial "${@:2}"
}

recorded() {
    local repository
    for repository in "$RESULTS"/*; do
        stestr --repo-url "$repository" last --subunit
    done
}

for suite in "$@"; do
    printf '\n==== %s\n' "$suite"
    "run_$suite" || FAILED+=("$suite")
done

printf '\n==== all suites, %d s\n' "$SECONDS"
if [[ ${#FAILED[@]} -gt 0 ]]; then
    echo "suites that failed: ${FAILED[*]}"
fi
if compgen -G "$RESULTS/*" > /dev/null; then
    recorded | python tools/count_tests.py || exit 1
fi
[[ ${#FAILED[@]} -eq 0 ]]
