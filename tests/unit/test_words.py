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

"""Phrases that a reader has to read twice; HACKING.rst says what to write."""

import os
import re

import testtools

_TREE = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))

#: Where prose is, and the endings of files that hold it.
_FOLDERS = ('nova_flexmem', 'tests', 'tools', 'doc/source', 'devstack', 'etc',
            'releasenotes/notes')
_ENDINGS = ('.py', '.rst', '.sh', '.yaml', '.sample', '.json', '.conf', 'init')

#: What may stand between two words of a sentence: the end of a line, the
#: marks of a comment, and the end of a string and the beginning of the next.
_GAP = r"[\s#*'\"]+"

_PHRASES = (
    'can not',
    'instances get whose',
    'words that go behind',
    'for the other one alone',
    'in whose way',
    'is not through yet',
    'a iso file',
    'So do.',
    'good words to look for',
    'was hurried along',
    'There today:',
    'so much memory',
    'Takes root',
    'one of nothing',
    'gets nowhere',
    'what there is to',
    'which must not be there',
    'in those of a cloud',
    'To be called now and then',
    'for a reason of its own',
    'Who was too young',
)
_FORBIDDEN = re.compile('|'.join(
    rf"(?<!\w){_GAP.join(map(re.escape, phrase.split()))}(?!\w)"
    for phrase in _PHRASES), re.IGNORECASE)


def _texts():
    """Yield the path of each text in the tree, from the tree's top."""
    for name in os.listdir(_TREE):
        if name.endswith('.rst'):
            yield name
    for top in _FOLDERS:
        for folder, folders, names in os.walk(os.path.join(_TREE, top)):
            # the inputs of fuzzing are not ours to word
            folders[:] = [name for name in folders if name != 'corpus']
            for name in names:
                path = os.path.join(folder, name)
                if name.endswith(_ENDINGS) and path != os.path.abspath(
                        __file__):
                    yield os.path.relpath(path, _TREE)


class WordsTest(testtools.TestCase):

    def test_no_phrase_to_read_twice(self):
        found = []
        for path in sorted(_texts()):
            with open(os.path.join(_TREE, path), encoding='utf-8') as f:
                text = f.read()
            found += [f'{path}:{text.count(chr(10), 0, match.start()) + 1}:'
                      f' {" ".join(match.group().split())}'
                      for match in _FORBIDDEN.finditer(text)]
        self.assertEqual([], found)

    def test_phrases_are_found_across_lines(self):
        for text in ('Guests can\n    # not write.', "'it can'\n  ' not'",
                     'A iso file', 'Run it.\n\nSo do.\n'):
            self.assertTrue(_FORBIDDEN.search(text), text)
        for text in ('cannot', 'canned notes', 'so done', 'a isolated'):
            self.assertIsNone(_FORBIDDEN.search(text), text)
