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

"""The boot loader specification's entries in an image."""

import fnmatch
import functools

import rpm_vercmp

from nova_flexmem.image import bootentry
from nova_flexmem.image import grub
from nova_flexmem.image import grubscript

#: Where a boot loader has its configuration.
_LOADERS = ('/boot/loader', '/efi/loader', '/boot/efi/loader')

_MAX_OPTIONS_CHARACTERS = 1 << 14


def entries(tree, environment):
    """Return the entries in the order of the menu, a list of Entry.

    :param tree: the image's operating_system.Tree
    :param environment: GRUB's variables, which the entries may name
    """
    listed = []
    for path in [path for folder in _LOADERS
                 for path in grub.entries(tree, folder)]:
        fields: dict[str, str] = {}
        for line in tree.read_text(path).splitlines():
            name, *rest = line.split(None, 1)[:2] or ['']
            # of several lines of options, all count
            if rest and not (name == 'options' and name in fields):
                fields[name] = rest[0]
            elif rest:
                fields[name] += f' {rest[0]}'
        words = [word for words in grubscript.commands(
            fields.get('options', '')[:_MAX_OPTIONS_CHARACTERS], environment)
            for word in words]
        name = path.rpartition('/')[2].removesuffix('.conf')
        listed.append(bootentry.Entry(
            fields.get('title', ''), name, fields.get('linux', ''),
            grubscript.command_line(words)))
    return sorted(listed, reverse=True, key=functools.cmp_to_key(_by_id))


def _by_id(first, second):
    """Compare two entries as GRUB's blscfg does.

    It compares the names of their files as those of packages: name, version
    and release, which are behind the last two minus signs.
    """
    for parts in zip(*((entry.id.rsplit('-', 2) + ['', ''])[:3]
                       for entry in (first, second))):
        compared = rpm_vercmp.vercmp(*parts)
        if compared:
            return compared
    return (first.id > second.id) - (first.id < second.id)


def default(tree, specified, environment):
    """Return the entry of the specification that is booted by itself.

    :param specified: what entries() returned
    :param environment: as for entries()
    :returns: an Entry, or None
    """
    if 'saved_entry' in environment:
        return bootentry.chosen(specified, environment['saved_entry'])
    for folder in _LOADERS:
        for line in tree.read_text(f'{folder}/loader.conf').splitlines():
            words = line.split()
            if len(words) == 2 and words[0] == 'default':
                for entry in specified:
                    if fnmatch.fnmatchcase(f'{entry.id}.conf',
                                           words[1].removesuffix('.conf')
                                           + '.conf'):
                        return entry
    return bootentry.chosen(specified, '0')
