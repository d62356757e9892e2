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

"""GRUB's menu in an image, grub.cfg, and the files that go with it."""

import re
import shlex

from nova_flexmem.image import bootentry
from nova_flexmem.image import grubscript

_ENVIRONMENTS = ('/boot/grub2/grubenv', '/boot/grub/grubenv')
#: GRUB makes it 1024 bytes long.
_MAX_ENVIRONMENT_CHARACTERS = 1 << 16

_DEFAULTS = '/etc/default/grub'
#: In Debian's and Ubuntu's images more files set GRUB's defaults.
_MORE_DEFAULTS = '/etc/default/grub.d'
_DEFAULTS_NAME = re.compile(r'[\w.+-]+\.cfg', re.ASCII)
_MAX_DEFAULTS = 100
_OWN_VALUE = re.compile(r'\$\{?(GRUB_\w+)\}?')

#: To split much longer ones takes shlex a minute.
_MAX_VALUE_CHARACTERS = 16384

_LINUX = ('linux', 'linux16', 'linuxefi')
_BLOCKS = ('menuentry', 'submenu')
_KEYWORDS = ('if', 'then', 'else', 'elif', 'do')
_ASSIGNMENT = re.compile(r'(\w+)=(.*)', re.DOTALL)
_ID_OPTIONS = ('--id', '$menuentry_id_option', '${menuentry_id_option}')

_MAX_ENTRIES = 1000
_MAX_DEPTH = 10


class Script:
    """What a grub.cfg says.

    :param text: the grub.cfg
    :param environment: as environment() returns it
    :param specify: called with GRUB's variables where the script has GRUB take
        the boot loader specification's entries; returns them
    :ivar entries: the entries of the top level
    :ivar specified: what specify() returned, None if it was not called
    :ivar default: the value of $default, None if it is not set
    """

    def __init__(self, text, environment, specify):
        self.entries: list[bootentry.Entry] = []
        self.default = None
        self._variables = dict(environment)
        self._environment = environment
        self._specify = specify
        self.specified = None
        self._count = 0
        # (the entries at this level, the words that opened it, None or the
        # words of its kernel)
        self._levels: list[tuple[list, list[str], list[str]]] = [
            (self.entries, [], [])]
        for words in grubscript.commands(text, self._variables):
            while words and words[0] in _KEYWORDS:
                words = words[1:]
            if words and self._count < _MAX_ENTRIES:
                self._run(words)

    def _run(self, words):
        entries, opened_by, linux = self._levels[-1]
        if words[-1] == '{':
            if len(self._levels) <= _MAX_DEPTH:
                inner = [] if words[0] == 'submenu' else entries
                self._levels.append((inner, words, []))
        elif words[0] == '}':
            if len(self._levels) > 1:
                self._levels.pop()
                if opened_by[0] in _BLOCKS:
                    self._count += 1
                    self._levels[-1][0].append(
                        _entry(opened_by, linux, entries))
        elif words[0] in _LINUX and opened_by[:1] == ['menuentry']:
            linux[:] = words
        elif words[0] == 'blscfg':
            if self.specified is None:
                self.specified = self._specify(self._variables)
                self.entries.extend(self.specified)
        elif len(self._levels) == 1:
            self._assign(words[1:] if words[0] == 'set' else words)

    def _assign(self, words):
        match = _ASSIGNMENT.fullmatch(words[0]) if words else None
        if match is None or '$' in match[2]:
            return
        if match[1] == 'default':
            self.default = match[2]
        elif match[1] not in self._environment and (
                match[1] != 'menuentry_id_option'):
            self._variables[match[1]] = match[2]


def _entry(opened_by, linux, entries):
    """Return the Entry of a block.

    :param opened_by: the words before the block
    :param linux: the words of its command "linux"
    :param entries: those in it
    """
    name = ''
    for option, value in zip(opened_by, opened_by[1:]):
        if option in _ID_OPTIONS:
            name = value
    return bootentry.Entry(
        opened_by[1], name, linux[1] if len(linux) > 1 else '',
        grubscript.command_line(linux[2:]),
        tuple(entries) if opened_by[0] == 'submenu' else ())


def environment(tree):
    """Return GRUB's saved variables, {name: value}.

    :param tree: the image's operating_system.Tree
    """
    text = next(filter(None, map(tree.read_text, _ENVIRONMENTS)), '')
    return dict(line.split('=', 1)
                for line in text[:_MAX_ENVIRONMENT_CHARACTERS].splitlines()
                if '=' in line and not line.startswith('#'))


def defaults(tree):
    """Return the variables of /etc/default/grub and what it is made of.

    :param tree: the image's operating_system.Tree
    :returns: {name: value}
    """
    texts = [tree.read_text(_DEFAULTS)]
    texts += [tree.read_text(f'{_MORE_DEFAULTS}/{name}')
              for name in sorted(filter(_DEFAULTS_NAME.fullmatch,
                                        tree.names(_MORE_DEFAULTS)))
              [:_MAX_DEFAULTS]]
    variables: dict[str, str] = {}
    for text in texts:
        for line in text.splitlines():
            match = _ASSIGNMENT.fullmatch(line.strip())
            if (match and match[1].startswith('GRUB_')
                    and len(match[2]) <= _MAX_VALUE_CHARACTERS):
                try:
                    value = ' '.join(shlex.split(match[2]))
                except ValueError:
                    continue  # an open quote: GRUB would not read it either
                # files of that folder add to what is there
                variables[match[1]] = _OWN_VALUE.sub(
                    lambda m: variables.get(m[1], '')[:_MAX_VALUE_CHARACTERS],
                    value, count=1)
    return variables
