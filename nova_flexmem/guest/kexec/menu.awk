# What GRUB's menu, grub.cfg, starts: a release, or the arguments of one.
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

# With the variable "release", prints the arguments of that release, one a
# line, and exits with 1 if there is no entry of it. Else prints the release of
# the entry that is started by itself; "saved" is GRUB's saved_entry. See
# nova_flexmem/image/grubmenu.py, which reads images.

# Sets words[1..n] to the words of a command, without their quotes.
function split_words(text, character, quote, word, open, n) {
    split("", words)
    for (; text != ""; text = substr(text, 2)) {
        character = substr(text, 1, 1)
        if (quote == "" && character ~ /[ \t;]/) {
            if (open)
                words[++n] = word
            word = ""
            open = 0
        } else if (quote == "" && character == "#" && !open) {
            break
        } else if (character == quote) {
            quote = ""
        } else if (quote == "" && (character == "'" || character == "\"")) {
            quote = character
            open = 1
        } else {
            if (character == "\\" && quote != "'") {
                text = substr(text, 2)
                character = substr(text, 1, 1)
            }
            word = word character
            open = 1
        }
    }
    if (open)
        words[++n] = word
    return n + 0
}

# Returns the entry that a value of $default names below another, or 0.
function choose(above, names, name, i) {
    if (match(names, />/)) {
        name = substr(names, 1, RSTART - 1)
        names = substr(names, RSTART + 1)
    } else {
        name = names
        names = "0"
    }
    gsub(/\001/, ">", name)
    for (i = 1; i <= count; i++)
        if (parent[i] == above && (name == place[i] "" || name == id[i] ||
                name == title[i]))
            return is_menu[i] ? choose(i, names) : i
    return 0
}

# Returns the first entry of a release; ones for recovery come last.
function first_of(wanted, i, found) {
    for (i = count; i > 0; i--)
        if (kernel[i] == wanted && (!found || !for_recovery[i] ||
                for_recovery[found]))
            found = i
    return found
}

BEGIN {
    depth = 0
    level[0] = 0
    default_entry = "0"
}

/^[ \t]*(menuentry|submenu|linux|linux16|linuxefi|set)[ \t]/ || /\{[ \t]*$/ {
    n = split_words($0)
    if (words[n] == "{") {
        if (words[1] == "menuentry" || words[1] == "submenu") {
            i = ++count
            parent[i] = level[depth]
            place[i] = places[parent[i]]++ + 0
            is_menu[i] = words[1] == "submenu"
            title[i] = words[2]
            id[i] = title[i]
            for (j = 3; j < n; j++)
                if (words[j] ~ /^(--id|\$\{?menuentry_id_option\}?)$/)
                    id[i] = words[j + 1]
            for_recovery[i] = tolower(title[i] " " id[i]) ~ \
                /recovery|rescue|emergency|failsafe/
            level[++depth] = i
        } else {
            depth++
            level[depth] = level[depth - 1]
        }
    } else if (words[1] ~ /^linux/ && level[depth] && n > 1) {
        i = level[depth]
        kernel[i] = release_of(words[2])
        args[i] = ""
        for (j = 3; j <= n; j++) {
            args[i] = args[i] words[j] "\n"
            if (words[j] ~ /^(single|emergency|recovery|rescue|[sS1])$/)
                for_recovery[i] = 1
        }
    } else if (words[1] == "set" && sub(/^default=/, "", words[2])) {
        if (words[2] ~ /^\$\{?saved_entry\}?$/)
            words[2] = saved
        if (words[2] != "" && words[2] !~ /\$/)
            default_entry = words[2]
    }
    next
}

/^[ \t]*\}/ && depth > 0 { depth-- }

END {
    gsub(/>>/, "\001", default_entry)
    entry = choose(0, default_entry)
    if (!entry)
        entry = choose(0, "0")
    if (release == "") {
        if (entry)
            print kernel[entry]
        exit
    }
    if (!entry || kernel[entry] != release)
        entry = first_of(release)
    printf "%s", entry ? args[entry] : ""
    exit !entry
}
