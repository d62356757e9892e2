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

#: Where the entries of the boot loader specification are, NAME.conf each, in
#: entries/.
_LOADER = '/boot/loader'
_ENTRY = re.compile(r'[\w.+~-]+\.conf')
_MAX_ENTRIES = 200

MENUS = ('/boot/grub/grub.cfg', '/boot/grub2/grub.cfg')

_LINUX = re.compile(r'(\s*(?:linux|linux16|linuxefi)\s+)(\S+)(.*)')
_INITRD = re.compile(r'(\s*(?:initrd|initrd16|initrdefi)\s+)(\S.*)')
_FIELD = re.compile(r'(\w+)\s+(.*)')
_OURS = re.compile(r'flexmem\.\w+=\S*|swiotlb=noforce')
_ROOT = re.compile(r'(?:root|rootflags|rootfstype)=\S*')
_UUID = re.compile(r'[0-9A-Za-z-]{1,64}', re.ASCII)

#: What an image says of its root, at most, and what that makes of a text that
#: has very many places for it.
_MAX_ROOT_CHARACTERS = 256
_MAX_TEXT_CHARACTERS = 4 << 20


def entries(tree, loader=_LOADER):
    """Return the paths of an image's entries, sorted.

    :param tree: the image's operating_system.Tree
    :param loader: the folder of the boot loader's configuration
    """
    folder = f'{loader}/entries'
    names = sorted(filter(_ENTRY.fullmatch, tree.names(folder)))
    return [f'{folder}/{name}' for name in names[:_MAX_ENTRIES]]


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
    root = _checked(' '.join(_ROOT.findall(known[0][3])))
    folder = _checked(posixpath.dirname(known[0][2]))
    return _joined(_adapted(line, root, folder)
                   for line in menu.splitlines()).replace(delta_uuid, uuid)


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
    root = _checked(' '.join(root))
    folder = _checked(posixpath.dirname(known['linux']))
    return _joined(_adapted_field(line, root, folder)
                   for line in entry.splitlines())


def _adapted_field(line, root, folder):
    match = _FIELD.fullmatch(line)
    name, value = (match[1], match[2]) if match else ('', '')
    if name == 'options':
        return ' '.join([name, root, *(
            word for word in value.split()
            if not _ROOT.fullmatch(word) and not _OURS.fullmatch(word))])
    if name in ('linux', 'initrd'):
        return ' '.join([name, *(_into(folder, path)
                                 for path in value.split())])
    return line


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


def _checked(text):
    if len(text) > _MAX_ROOT_CHARACTERS:
        raise ValueError('what the image says of its root device is too long')
    return text


def _joined(lines):
    kept = []
    characters = 0
    for line in lines:
        kept.append(f'{line}\n')
        characters += len(kept[-1])
        if characters > _MAX_TEXT_CHARACTERS:
            raise ValueError('it is too long')
    return ''.join(kept)


def _into(folder, path):
    return posixpath.join(folder, posixpath.basename(path))


def _boot_uuid(menu):
    """Return the uuid that a menu searches for before it loads a kernel."""
    uuid = None
    for line in menu.splitlines():
        words = line.split()
        if words[:1] == ['search'] and '--set=root' in words[1:-1]:
            uuid = words[-1] if _UUID.fullmatch(words[-1]) else None
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
