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

"""What GRUB makes of a script: grub.cfg, and the options of an entry.

Only what decides about kernels is understood: words, quotes, variables and
blocks. See the GRUB manual, "Shell-like scripting", and GRUB's
grub-core/script/yylex.l and grub-core/lib/cmdline.c.
"""

import re

_TOKEN = re.compile(r"""
    (?P<blank>(?:[ \t\r]|\\\n)++)
    | (?P<end>[\n;&|]++)
    | '(?P<single>[^']*+)'
    | "(?P<double>(?:[^"\\]|\\.)*+)"
    | \\(?P<escaped>.)
    | (?P<variable>\$(?:\{\w++\}|\w++))
    | (?P<plain>[^ \t\r\n;&|'"\\$]++|.)
    """, re.VERBOSE | re.DOTALL)
_IN_DOUBLE = re.compile(r'\\([$"\\])|(\$(?:\{\w++\}|\w++))', re.DOTALL)

#: Expanded values in one text, together; more stays unexpanded.
_MAX_EXPANDED_CHARACTERS = 1 << 16


def commands(text, variables=None):
    """Yield the commands of a script, lists of words without their quotes.

    A variable that is not known stays in its word, with its $.

    :param variables: {name: value}; may change while this runs
    """
    expander = _Expander({} if variables is None else variables)
    words: list[str] = []
    word: list[str] | None = None
    position = 0
    while position < len(text):
        if word is None and text[position] == '#':
            position = text.find('\n', position)
            if position < 0:
                break
        match = _TOKEN.match(text, position)
        assert match is not None  # the last alternative takes anything
        position = match.end()
        kind, value = match.lastgroup, match[match.lastgroup or 0]
        if kind in ('blank', 'end'):
            if word is not None:
                words.append(''.join(word))
                word = None
            if kind == 'end' and words:
                yield words
                words = []
            continue
        word = [] if word is None else word
        if kind == 'variable':
            # GRUB splits what an unquoted variable holds
            first, *rest = re.split(r'[ \t\n]+', expander.value(value))
            word.append(first)
            for piece in rest:
                words.append(''.join(word))
                word = [piece]
        elif kind == 'double':
            word.append(_IN_DOUBLE.sub(
                lambda m: m[1] or expander.value(m[2]), value))
        else:
            word.append(value)
    if word is not None:
        words.append(''.join(word))
    if words:
        yield words


def command_line(words):
    """Return the line that GRUB gives a kernel for the words behind "linux".

    GRUB puts a word with spaces in quotes, and a backslash before a quote.
    """
    line = []
    for word in filter(None, words):
        word = re.sub(r'(["\'\\])', r'\\\1', word)
        line.append(f'"{word}"' if ' ' in word else word)
    return ' '.join(line)


class _Expander:
    """Replaces variables by their values, to a limit."""

    def __init__(self, variables):
        self._variables = variables
        self._left = _MAX_EXPANDED_CHARACTERS

    def value(self, variable):
        """Return what $NAME or ${NAME} stands for, itself if not known."""
        value = self._variables.get(variable.strip('${}'), variable)
        self._left -= len(value)
        return value if self._left >= 0 else variable
