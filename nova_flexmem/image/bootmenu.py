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

"""The menu of an image's own boot loader.

It is GRUB's menu with the entries of the boot loader specification in it
(``blscfg``), these entries alone (systemd-boot), or the menu of extlinux.
"""

import dataclasses

from nova_flexmem.image import bootentry
from nova_flexmem.image import bootspec
from nova_flexmem.image import grub
from nova_flexmem.image import grubmenu

_EXTLINUX = ('/boot/extlinux.conf', '/boot/extlinux/extlinux.conf',
             '/boot/syslinux/syslinux.cfg')
_MAX_LABELS = 1000


@dataclasses.dataclass(frozen=True)
class Menu:
    """A boot loader's menu.

    :ivar default: the Entry that it boots by itself, None if not known
    :ivar entries: all of them, those of submenus too, in the menu's order
    """

    default: bootentry.Entry | None
    entries: tuple[bootentry.Entry, ...]


def read(tree):
    """Return the Menu of an image.

    :param tree: the image's operating_system.Tree
    """
    environment = grubmenu.environment(tree)
    text = next(filter(None, map(tree.read_text, grub.MENUS)), '')
    script = grubmenu.Script(
        text, environment, lambda known: bootspec.entries(tree, known))
    specified = (bootspec.entries(tree, environment)
                 if script.specified is None else script.specified)
    if script.entries:
        wanted = _wanted(script, environment, tree)
        # entries that are not in this menu can still tell arguments
        return Menu(bootentry.chosen(script.entries, wanted),
                    bootentry.flat([*script.entries, *specified]))
    if specified:
        return Menu(bootspec.default(tree, specified, environment),
                    tuple(specified))
    return _extlinux(tree)


def _wanted(script, environment, tree):
    """Return what names the default entry of a grub.cfg."""
    if script.default is not None:
        return script.default
    value = grubmenu.defaults(tree).get('GRUB_DEFAULT', '')
    return environment.get('saved_entry', '') if value == 'saved' else value


def _extlinux(tree):
    """Return the Menu of extlinux; an empty one if there is none."""
    text = next(filter(None, map(tree.read_text, _EXTLINUX)), '')
    default = ''
    labels: list[dict[str, str]] = []
    for line in text.splitlines():
        name, value = (line.split(None, 1) + ['', ''])[:2]
        name = name.lower()
        if name == 'label' and len(labels) < _MAX_LABELS:
            labels.append({'label': value.strip()})
        elif name == 'default':
            default = value.strip()
        elif labels and name in ('kernel', 'linux', 'append'):
            labels[-1][name] = value.strip()
    entries = tuple(
        bootentry.Entry(fields['label'], '',
                        fields.get('linux', fields.get('kernel', '')),
                        fields.get('append', '')) for fields in labels)
    chosen = [entry for entry in entries if entry.title == default] or entries
    return Menu(chosen[0] if chosen else None, entries)
