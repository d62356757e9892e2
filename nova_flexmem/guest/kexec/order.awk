# Prints releases of kernels, each once, the newest first.
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

# The same order as nova_flexmem/image/releases.py has: kernels for special
# uses come last. The variable "order" is dpkg or rpm.

# As order() in dpkg's lib/dpkg/version.c.
function weight(character) {
    if (character == "" || character ~ /[0-9]/)
        return 0
    if (character == "~")
        return -1
    return code[character] + (character ~ /[A-Za-z]/ ? 0 : 256)
}

function take(text, pattern) {
    return match(text, pattern) ? substr(text, 1, RLENGTH) : ""
}

function compare_part(a, b, x, y) {
    while (a != "" || b != "") {
        while (a ~ /^[^0-9]/ || b ~ /^[^0-9]/) {
            x = weight(substr(a, 1, 1)) - weight(substr(b, 1, 1))
            if (x)
                return x
            a = substr(a, 2)
            b = substr(b, 2)
        }
        x = take(a, "^[0-9]+")
        y = take(b, "^[0-9]+")
        a = substr(a, length(x) + 1)
        b = substr(b, length(y) + 1)
        if (x + 0 != y + 0)
            return x - y
    }
    return 0
}

function compare_dpkg(a, b, x, y, compared) {
    gsub(/_/, ".", a)
    gsub(/_/, ".", b)
    x = match(a, /-[^-]*$/) ? RSTART : length(a) + 1
    y = match(b, /-[^-]*$/) ? RSTART : length(b) + 1
    compared = compare_part(substr(a, 1, x - 1), substr(b, 1, y - 1))
    if (compared)
        return compared
    # no revision is revision 0
    a = substr(a, x + 1)
    b = substr(b, y + 1)
    return compare_part(a == "" ? "0" : a, b == "" ? "0" : b)
}

# As rpmvercmp() in rpm's rpmio/rpmvercmp.c.
function compare_rpm(a, b, x, y, kind) {
    while (a != "" || b != "") {
        sub(/^[^A-Za-z0-9~]+/, "", a)
        sub(/^[^A-Za-z0-9~]+/, "", b)
        if (a ~ /^~/ || b ~ /^~/) {
            if (a !~ /^~/)
                return 1
            if (b !~ /^~/)
                return -1
            a = substr(a, 2)
            b = substr(b, 2)
            continue
        }
        if (a == "" || b == "")
            break
        kind = a ~ /^[0-9]/ ? "^[0-9]+" : "^[A-Za-z]+"
        x = take(a, kind)
        y = take(b, kind)
        if (y == "")
            return a ~ /^[0-9]/ ? 1 : -1
        a = substr(a, length(x) + 1)
        b = substr(b, length(y) + 1)
        if (x ~ /^[0-9]/) {
            if (x + 0 != y + 0)
                return x - y
        } else if (x "" != y "")
            return x "" < y "" ? -1 : 1
    }
    return (a != "") - (b != "")
}

function is_special(release) {
    return tolower(release) ~ \
        /(^|[0-9.+_~-])(debug|dbg|rescue|rc[0-9]*|rt[0-9]*|kdump)([^a-z]|$)/
}

function compare(a, b, compared) {
    compared = is_special(b) - is_special(a)
    if (!compared)
        compared = order == "dpkg" ? compare_dpkg(a, b) : compare_rpm(a, b)
    if (!compared)
        compared = a "" < b "" ? -1 : a "" > b ""
    return compared
}

BEGIN {
    for (i = 1; i < 128; i++)
        code[sprintf("%c", i)] = i
}

/^[0-9][A-Za-z0-9_.+~-]*$/ && length($0) <= 101 && !($0 in seen) {
    seen[$0]
    for (i = count++; i > 0 && compare(sorted[i - 1], $0) < 0; i--)
        sorted[i] = sorted[i - 1]
    sorted[i] = $0
}

END {
    for (i = 0; i < count; i++)
        print sorted[i]
}
