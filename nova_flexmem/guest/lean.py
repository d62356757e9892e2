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

"""What a guest does without, to take less of the host's memory.

Each costs the tenant something, so none is a default. doc/source/operator.rst
has the gains and the prices. What concerns the domain is in leandomain.
"""

import re

TRACING, KASLR, VIDEO, NESTING = 'tracing', 'kaslr', 'video', 'nesting'

#: All that a guest can do without.
PARTS = (TRACING, KASLR, VIDEO, NESTING)

#: Since then Linux makes the inodes of tracefs when they are looked at
#: (fs/tracefs/event_inode.c), so there is nothing to gain.
_LAZY_TRACEFS_SINCE = (6, 6)


def parse(text):
    """Return the parts in a list with commas, in the order of PARTS.

    :raises: ValueError for a list with anything else in it
    """
    parts = text.split(',')
    for part in parts:
        if part not in PARTS:
            raise ValueError(f'{part!r} is none of {", ".join(PARTS)}')
    return tuple(part for part in PARTS if part in parts)


def kernel_args(without, kernel_release):
    """Return arguments for the kernel command line, a list.

    :param without: parts that the guest does without
    :param kernel_release: of the base's kernel
    """
    args = []
    version = tuple(map(int, re.findall(r'\d+', kernel_release)[:2]))
    if TRACING in without and version < _LAZY_TRACEFS_SINCE:
        args.append('initcall_blacklist=tracer_init_tracefs')
    if KASLR in without:
        args.append('nokaslr')
    return args
