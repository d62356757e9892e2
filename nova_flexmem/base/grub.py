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

"""GRUB's menu, as a FlexMem guest writes it, for the image's own boot loader.

update-grub in a FlexMem guest finds the delta below the root directory, and
one tree without partitions: it has GRUB look for the delta's uuid, in which an
image without the delta has no part. What the guest's menu says of devices is
replaced by what the image's menu says of them.
"""

import posixpath
import re

#: Where the entries of the boot loader specification are, NAME.conf each.
ENTRIES = '/boot/loader/entries'

MENUS = ('/boot/grub/grub.cfg', '/boot/grub2/grub.cfg')

_LINUX = re.compile(r'(\s*(?:linux|linux16|linuxefi)\s+)(\S+)(.*)')
_INITRD = re.compile(r'(\s*(?:initrd|initrd16|initrdefi)\s+)(\S.*)')
_SEARCH = re.compile(r'\s*search\s.*--set=root\b.*\s(\S+)\s*')
_FIELD = re.compile(r'(\w+)\s+(.*)')
_OURS = re.compile(r'flexmem\.\w+=\S*|swiotlb=noforce')
_ROOT = re.compile(r'(?:root|rootflags|rootfstype)=\S*')


def adapt(menu, original, delta_uuid):
    """Return a guest's menu for the image.

    :param menu: the text of grub.cfg as the guest left it
    :param original: as the image has it
    :param delta_uuid: of the delta's filesystem
    :returns: the text; the menu itself if there is nothing to replace
    :raises: ValueError if the original does not say what is needed
    """
    if delta_uuid not in menu and not _foreign_roots(menu, original):
        return menu
    kernels = [_LINUX.fullmatch(line) for line in original.splitlines()]
    known = [match for match in kernels if match and _ROOT.search(match[3])]
    uuid = _boot_uuid(original)
    if not known or uuid is None:
        raise ValueError('the image\'s own menu names no root device')
    root = ' '.join(_ROOT.findall(known[0][3]))
    folder = posixpath.dirname(known[0][2])
    lines = [_adapted(line, root, folder) for line in menu.splitlines()]
    return '\n'.join(lines).replace(delta_uuid, uuid) + '\n'


def adapt_entry(entry, originals):
    """Return an entry for the image that a guest may have written.

    kernel-install takes the arguments of the kernel that runs, which are
    those of a FlexMem guest.

    :param entry: the text of an entry
    :param originals: those that the image has
    :returns: the text; the entry itself if there is nothing to replace
    :raises: ValueError if the originals do not say what is needed
    """
    if not _OURS.search(_fields(entry).get('options', '')):
        return entry
    for known in map(_fields, originals):
        root = _ROOT.findall(known.get('options', ''))
        if root and 'linux' in known:
            break
    else:
        raise ValueError('no entry of the image names a root device')
    lines = []
    for line in entry.splitlines():
        match = _FIELD.fullmatch(line)
        name, value = (match[1], match[2]) if match else ('', '')
        if name == 'options':
            line = ' '.join([name, *root, *(
                word for word in value.split()
                if not _ROOT.fullmatch(word) and not _OURS.fullmatch(word))])
        elif name in ('linux', 'initrd'):
            folder = posixpath.dirname(known['linux'])
            line = ' '.join([name, *(_into(folder, path)
                                     for path in value.split())])
        lines.append(line)
    return '\n'.join(lines) + '\n'


def _fields(entry):
    return {match[1]: match[2] for line in entry.splitlines()
            if (match := _FIELD.fullmatch(line))}


def _adapted(line, root, folder):
    kernel = _LINUX.fullmatch(line)
    if kernel:
        args = [root, *(word for word in kernel[3].split()
                        if not _ROOT.fullmatch(word))]
        return f'{kernel[1]}{_into(folder, kernel[2])} {" ".join(args)}'
    initrd = _INITRD.fullmatch(line)
    if initrd:
        return initrd[1] + ' '.join(_into(folder, path)
                                    for path in initrd[2].split())
    return line


def _into(folder, path):
    return posixpath.join(folder, posixpath.basename(path))


def _boot_uuid(menu):
    """Return the uuid that a menu searches for before it loads a kernel."""
    uuid = None
    for line in menu.splitlines():
        search = _SEARCH.fullmatch(line)
        if search:
            uuid = search[1]
        elif _LINUX.fullmatch(line):
            return uuid
    return None


def _foreign_roots(menu, original):
    """Return the root arguments that the image's menu does not have."""
    roots = [{word for line in text.splitlines()
              if (kernel := _LINUX.fullmatch(line))
              for word in _ROOT.findall(kernel[3])}
             for text in (menu, original)]
    return roots[0] - roots[1]
