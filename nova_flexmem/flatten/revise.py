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

"""Puts back what a guest wrote about disks because it was a FlexMem guest."""

import os

from nova_flexmem.image import crypttab
from nova_flexmem.image import fstab
from nova_flexmem.image import grub
from nova_flexmem.image import operating_system

_MENU_BYTES = 1 << 20
_ENTRY_BYTES = 1 << 16
_TABLE_BYTES = 1 << 16

#: What /init put there, see guest/programs.sh; it leads nowhere elsewhere.
_LINK, _TARGET = '/usr/local/sbin/grub-install', '/run/flexmem/grub-install'

_TABLES = {operating_system.FSTAB: fstab.restore,
           operating_system.CRYPTTAB: crypttab.restore}


def boot_files(tree):
    """Return {path: text} of the boot loader's files that name devices.

    :param tree: the image's operating_system.Tree
    """
    return {path: tree.read_text(path, size)
            for paths, size in ((grub.MENUS, _MENU_BYTES),
                                (grub.entries(tree), _ENTRY_BYTES))
            for path in paths}


def revise(appliance, tree, folder, originals, delta_uuid):
    """Revise /etc/fstab, /etc/crypttab and the boot loader's files.

    :param appliance: a running Appliance
    :param tree: the image's operating_system.Tree in it, now changed
    :param folder: where files pass through on the host
    :param originals: boot_files() before any change
    :param delta_uuid: of the delta's filesystem
    :raises: ValueError if what the image says of it is not enough
    """
    appliance.shell(f'[ "$(readlink /sysroot{_LINK})" != {_TARGET} ] ||'
                    f' rm -f /sysroot{_LINK}')
    for path, restore in _TABLES.items():
        text = tree.read_text(path, _TABLE_BYTES)
        _write(appliance, folder, path, text, restore(text))
    entries = [text for path, text in originals.items()
               if path not in grub.MENUS]
    for path, text in boot_files(tree).items():
        original = originals.get(path)
        if text == original:
            continue
        try:
            revised = (grub.adapt(text, original, delta_uuid)
                       if path in grub.MENUS else
                       grub.adapt_entry(text, entries))
        except ValueError as e:
            raise ValueError(f'the guest wrote {path} anew, for a FlexMem'
                             f' guest, and {e}')
        _write(appliance, folder, path, text, revised)


def _write(appliance, folder, path, text, revised):
    """Give a file another content; the rest of it stays."""
    if revised == text:
        return
    passing = os.path.join(folder, 'revised')
    with open(passing, 'w', encoding='utf-8', errors='surrogateescape') as f:
        f.write(revised)
    times = dict(line.split(': ', 1)
                 for line in appliance.command('statns', path))
    appliance.command('upload', passing, path)
    appliance.command(
        'utimens', path, times['st_atime_sec'], times['st_atime_nsec'],
        times['st_mtime_sec'], times['st_mtime_nsec'])
