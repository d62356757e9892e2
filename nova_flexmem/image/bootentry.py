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

"""An entry of a boot loader's menu."""

import dataclasses
import re

#: In a value of $default: behind it comes an entry of a submenu.
_INTO_SUBMENU = re.compile(r'(?<!>)>(?!>)')
_MAX_DEPTH = 10

_RECOVERY_TITLE = re.compile(r'recovery|rescue|emergency|failsafe',
                             re.IGNORECASE)
_RECOVERY_ARGS = frozenset((
    'single', 's', 'S', '1', 'emergency', 'rescue', 'recovery',
    'systemd.unit=rescue.target', 'systemd.unit=emergency.target',
    'init=/bin/sh', 'init=/bin/bash', 'rd.break'))


@dataclasses.dataclass(frozen=True)
class Entry:
    """An entry of a menu, or a submenu.

    :ivar id: what a default entry is saved by, apart from the title
    :ivar kernel: the kernel's path, as the boot loader sees it
    :ivar args: the kernel command line
    :ivar entries: those of a submenu
    """

    title: str
    id: str = ''
    kernel: str = ''
    args: str = ''
    entries: tuple['Entry', ...] = ()

    @property
    def is_for_recovery(self):
        """Whether its title or its arguments say so."""
        return (self.has_recovery_args
                or bool(_RECOVERY_TITLE.search(f'{self.title} {self.id}')))

    @property
    def has_recovery_args(self):
        """Whether it boots into something else than the system."""
        return not _RECOVERY_ARGS.isdisjoint(self.args.split())


def chosen(entries, wanted):
    """Return the entry that GRUB boots for a value of $default, or None.

    :param entries: those of the menu's top level
    :param wanted: a number, a title or an id; behind a ">" that in a submenu
    """
    names = _INTO_SUBMENU.split(wanted or '0', maxsplit=_MAX_DEPTH)
    for name in (name.replace('>>', '>') for name in names):
        matching = [entry for number, entry in enumerate(entries)
                    if name in (str(number), entry.id, entry.title)]
        if not matching:
            # GRUB boots the first one then
            return chosen(entries, '0') if wanted != '0' and entries else None
        if not matching[0].entries:
            return matching[0]
        entries = matching[0].entries
    return chosen(entries, '0')


def flat(entries):
    """Return entries, and those in submenus instead of them, each once."""
    ordered: dict[Entry, None] = {}
    for entry in entries:
        for inner in flat(entry.entries) if entry.entries else (entry,):
            ordered[inner] = None
    return tuple(ordered)
