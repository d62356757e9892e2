# Prints the modules to load for others, each behind all that it needs.
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

# The files are modules.builtin, .softdep, .dep and .alias of a kernel, in this
# order. The variable "wanted" names modules, "needed" those without which a
# guest does not start: "missing NAME" is printed for each that is not there.
# The same as closure() in nova_flexmem/image/modules.py.

function name_of(path) {
    sub(/.*\//, "", path)
    sub(/\..*/, "", path)
    gsub(/-/, "_", path)
    return path
}

function add_all(names, i, count, words) {
    count = split(names, words)
    for (i = 1; i <= count; i++)
        add(name_of(words[i]))
}

function add(module) {
    if (module in seen || module in builtin)
        return
    seen[module]
    if (!(module in path)) {
        add_all(aliases[module])
        return
    }
    add_all(before[module])
    add_all(needs[module])
    print path[module]
}

FNR == 1 {
    kind = FILENAME
    sub(/.*\./, "", kind)
}

/^#/ { next }

kind == "builtin" { builtin[name_of($1)] }

kind == "softdep" && match($0, / pre: /) {
    text = substr($0, RSTART + RLENGTH)
    sub(/post:.*/, "", text)
    before[name_of($2)] = text
}

kind == "dep" && sub(/:/, "") {
    file = $1
    $1 = ""
    path[name_of(file)] = file
    needs[name_of(file)] = $0
}

# only names of modules, not of devices
kind == "alias" && $2 ~ /^[A-Za-z0-9_-]+$/ {
    aliases[name_of($2)] = aliases[name_of($2)] " " $3
}

END {
    count = split(needed, words)
    for (i = 1; i <= count; i++)
        if (!(words[i] in path) && !(words[i] in builtin))
            print "missing " words[i]
    add_all(wanted)
}
