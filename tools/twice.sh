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


# Usage: [GROUP_REGEX=REGEX] tools/twice.sh REPOSITORY FOLDER ARGUMENT...
#
# Runs a folder's tests by stestr. What fails runs once more, if it is little;
# tools/count_tests.py names it.

words=(stestr --repo-url "$1" --test-path "$2"
    ${GROUP_REGEX:+--group-regex "$GROUP_REGEX"})
"${words[@]}" run "${@:3}" && exit
[[ $("${words[@]}" failing --list | wc -l) -le 3 ]] \
    && printf '\nThe tests that failed, once more:\n' \
    && "${words[@]}" run --failing --serial
