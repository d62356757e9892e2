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


"""Reads what the witness says on its serial console (see guest_image).

About every two seconds it prints the word WITNESS and one JSON object:

image
    the name that guest_image.build() was given
boot
    boots so far of the system that it runs from, this one included: as many
    as there are sets of files
tree
    'ok', or what is wrong with the files written at this and earlier boots
files
    how many of them there are, 200 for each boot
root, rootdev, root_bytes
    type and device of the root filesystem, and its size
lower
    type of the filesystem below the overlay of a FlexMem guest, or ''
disks
    {name: bytes} of all disks but CDs
seen
    {name: what it holds} of the disks beyond the root disk: 'swap' (in use
    then), 'volume' (it began with the word WITNESS-VOLUME, and the number of
    boots was written to its second sector), 'delta:N' and 'system:N' (of a
    witness, with N sets), 'base:IMAGE', 'ext4:N' and 'vfat:N' (a filesystem
    for data, now met for the Nth time)
nics
    MAC addresses
config_drive
    the uuid in the metadata of the config drive, or ''
swap_bytes, ram_bytes, uptime
    sizes, and seconds
"""

import json
import os

_WORD = 'WITNESS '
_TAIL_LINES = 25


def statuses(console):
    """Return all statuses on a console, a list of dicts, oldest first.

    Lines that the kernel wrote into are left out.

    :param console: text
    """
    found = []
    for line in console.splitlines():
        _before, word, text = line.partition(_WORD)
        if word:
            try:
                found.append(json.loads(text))
            except ValueError:
                continue
    return found


def last(console):
    """Return the last status on a console, or None."""
    found = statuses(console)
    return found[-1] if found else None


def read(path):
    """Return the text of a console's log file, '' while there is none."""
    if not os.path.exists(path):
        return ''
    with open(path, encoding='utf-8', errors='replace') as f:
        return f.read()


def tail(console):
    """Return the end of a console's text, for messages."""
    lines = [line for line in console.splitlines() if line.strip()]
    return '\n'.join(lines[-_TAIL_LINES:]) or '(nothing on the console)'
