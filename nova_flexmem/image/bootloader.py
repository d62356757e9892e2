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

"""The kernel command line that an image's own boot loader would use."""

import re
import shlex

from nova_flexmem.image import grub

#: Arguments about a root device or another initramfs: ours replaces them.
#: Behind -- all would be for init, ours too.
_DROPPED = re.compile(
    r'(BOOT_IMAGE|root|rootflags|rootfstype|rootdelay|rootwait|ro|rw|resume|'
    r'resume_offset|noresume|initrd|cryptdevice|--|'
    r'rd\.(lvm|luks|md|dm)(\.\w+)*)(=.*)?', re.DOTALL)

_GRUB_ENVIRONMENTS = ('/boot/grub/grubenv', '/boot/grub2/grubenv')

#: In /etc/default/grub; to split much longer ones takes shlex a minute.
_MAX_VALUE_CHARACTERS = 16384


def kernel_args(tree, release):
    """Return the command line that the image boots a kernel with.

    Looked for in GRUB's menu, the boot loader specification's entries,
    /etc/kernel/cmdline and /etc/default/grub, in this order.

    :param tree: the image's operating_system.Tree
    :param release: the kernel's release
    :returns: the arguments less those about the root device, one line
    """
    for find in (_from_grub_menu, _from_entries, _from_kernel_cmdline,
                 _from_grub_defaults):
        args = find(tree, release)
        if args is not None:
            return clean(args)
    return ''


def clean(args):
    """Drop from a command line what a FlexMem guest gets in another way."""
    # quotes may hold spaces, and one left open would swallow what follows;
    # what GRUB would expand means nothing here
    words = re.findall(r'(?:"[^"]*"|\S)+', args)
    return ' '.join(filter(_is_kept, words))


def _is_kept(word):
    # the kernel takes quotes off, and some bytes of UTF-8 for spaces; the
    # guest's /init looks for its own words in quotes as well
    return (not _DROPPED.fullmatch(word.replace('"', ''))
            and 'flexmem.' not in word and '$' not in word
            and word.count('"') % 2 == 0
            and word.isascii() and word.isprintable())


def _from_grub_menu(tree, release):
    for path in grub.MENUS:
        for line in tree.read_text(path).splitlines():
            words = line.split(None, 2)
            if (len(words) > 1 and words[0] in ('linux', 'linux16',
                                                'linuxefi')
                    and words[1].endswith(f'/vmlinuz-{release}')):
                return words[2] if len(words) > 2 else ''
    return None


def _from_entries(tree, release):
    for path in grub.entries(tree):
        fields = dict(
            line.split(None, 1) for line in tree.read_text(path).splitlines()
            if len(line.split(None, 1)) == 2)
        if release in (fields.get('version'),
                       fields.get('linux', '').rpartition('vmlinuz-')[2]):
            # once: any number of them would fill the host's memory
            return fields.get('options', '').replace(
                '$kernelopts', _grub_environment(tree).get('kernelopts', ''),
                1)
    return None


def _from_kernel_cmdline(tree, release):
    return tree.read_text('/etc/kernel/cmdline').strip() or None


def _from_grub_defaults(tree, release):
    variables = {}
    for line in tree.read_text('/etc/default/grub').splitlines():
        name, equals, value = line.strip().partition('=')
        if (equals and name.startswith('GRUB_CMDLINE_LINUX')
                and len(value) <= _MAX_VALUE_CHARACTERS):
            try:
                variables[name] = ' '.join(shlex.split(value))
            except ValueError:
                continue  # an open quote: GRUB would not read it either
    if not variables:
        return None
    return ' '.join((variables.get('GRUB_CMDLINE_LINUX', ''),
                     variables.get('GRUB_CMDLINE_LINUX_DEFAULT', '')))


def _grub_environment(tree):
    text = ''.join(tree.read_text(path) for path in _GRUB_ENVIRONMENTS)
    return dict(line.split('=', 1) for line in text.splitlines()
                if '=' in line)
