# What an entry of the boot loader specification starts.
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

# With the variable "release", prints the entry's arguments, one a line, and
# exits with 1 if the entry is of another release. Else prints its release. The
# variable "grubenv" names the file with GRUB's variables.

BEGIN {
    while (grubenv != "" && (getline line < grubenv) > 0)
        if (match(line, /^[A-Za-z_]+=/))
            value[substr(line, 1, RLENGTH - 1)] = substr(line, RLENGTH + 1)
}

$1 == "linux" { found = release_of($2) }

$1 == "options" {
    for (i = 2; i <= NF; i++) {
        name = $i
        if (sub(/^\$/, "", name)) {
            count = split(value[name], parts)
            for (j = 1; j <= count; j++)
                args = args parts[j] "\n"
        } else
            args = args $i "\n"
    }
}

END {
    if (release == "") {
        print found
        exit
    }
    if (found != release)
        exit 1
    printf "%s", args
}
