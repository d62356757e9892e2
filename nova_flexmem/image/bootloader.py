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

"""What an image's own boot loader would boot: a kernel and its arguments."""

import re

from nova_flexmem.image import bootmenu
from nova_flexmem.image import grubmenu
from nova_flexmem.image import grubscript

#: Arguments about a root device or another initramfs: ours replaces them.
#: Memory that is kept for a crash kernel, which nobody loads into a FlexMem
#: guest. Behind -- all would be for init, ours too.
#: A pattern that awk understands as well.
DROPPED = (
    'BOOT_IMAGE|root|rootflags|rootfstype|rootdelay|rootwait|ro|rw|resume|'
    'resume_offset|noresume|initrd|rdinit|cryptdevice|crashkernel|--|'
    'rd[.](lvm|luks|md|dm)([.][A-Za-z0-9_]+)*')
_DROPPED = re.compile(f'(?:{DROPPED})(=.*)?', re.DOTALL)

#: Where a word for the guest's /init may begin.
_OURS = re.compile(r'(?:^|["\s])flexmem\.')


def read(tree, kernels):
    """Return the Bootloader of an image.

    :param tree: the image's operating_system.Tree
    :param kernels: its installed.Kernels
    """
    return Bootloader(tree, kernels, bootmenu.read(tree))


class Bootloader:
    """The boot loader of an image, as far as it is about kernels.

    :param menu: its bootmenu.Menu
    """

    def __init__(self, tree, kernels, menu):
        self._tree = tree
        self._kernels = kernels
        self._menu = menu

    @property
    def default(self):
        """The release of the kernel that is booted by itself, or None."""
        entry = self._menu.default
        return self._kernels.release_of(entry.kernel) if (
            entry and entry.kernel) else None

    def args(self, release):
        """Return the command line that the image boots a kernel with.

        It is that of the menu's default entry, of the first entry of this
        kernel that is not for recovery, of /etc/kernel/cmdline or of
        /etc/default/grub, in this order.

        :returns: the arguments less those about the root device, one line
        """
        entries = [entry for entry in (self._menu.default,
                                       *self._menu.entries)
                   if entry and entry.kernel and not entry.has_recovery_args
                   and self._kernels.release_of(entry.kernel) == release]
        # "rescue" in a title may be of a distribution's name
        entries.sort(key=lambda entry: entry.is_for_recovery)
        if entries:
            return clean(entries[0].args)
        return clean(self._tree.read_text('/etc/kernel/cmdline').strip()
                     or _grub_default_args(self._tree))


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
            and not _OURS.search(word) and '$' not in word
            and word.count('"') % 2 == 0
            and word.isascii() and word.isprintable())


def _grub_default_args(tree):
    """Return what GRUB's menu gets from /etc/default/grub."""
    variables = grubmenu.defaults(tree)
    return grubscript.command_line(
        word for name in ('GRUB_CMDLINE_LINUX', 'GRUB_CMDLINE_LINUX_DEFAULT')
        for words in grubscript.commands(variables.get(name, ''))
        for word in words)
