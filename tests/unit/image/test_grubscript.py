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

import testtools

from nova_flexmem.image import grubscript


class CommandsTest(testtools.TestCase):

    def words(self, text, **variables):
        return [*grubscript.commands(text, variables)]

    def test_words_and_ends(self):
        self.assertEqual(
            [['linux', '/vmlinuz', 'a=b'], ['initrd', '/i'], ['boot']],
            self.words('linux /vmlinuz\ta=b; initrd /i\n\n boot'))

    def test_comments(self):
        self.assertEqual([['a', 'b#c'], ['d']],
                         self.words('# x "\na b#c # y \'\nd'))

    def test_quotes(self):
        self.assertEqual(
            [['a b', 'c"d', 'e$x', 'f\\g', "h'i", 'jk l']],
            self.words(r"""'a b' "c\"d" "e\$x" 'f\g' "h'i" j"k l" """))

    def test_backslashes(self):
        self.assertEqual([['a b', 'c;', 'd\\n']],
                         self.words('a\\ b c\\; "d\\n"'))
        self.assertEqual([['a', 'b']], self.words('a \\\n b'))

    def test_open_quotes_end(self):
        for text in ("'a b", '"a b', 'a\\', '"' * 9999, "'\\" * 9999,
                     '"\\"' * 9999, '$', '${', '${a', '"${'):
            [*self.words(text)]

    def test_variables(self):
        self.assertEqual(
            [['linux', 'a', 'b', 'x=a b', '$y', '$x']],
            self.words('linux $x "x=${x}" $y \'$x\'', x='a b'))

    def test_variables_that_would_fill_the_memory(self):
        found = self.words('$x ' * 100000, x='y' * 10000)
        self.assertLess(sum(map(len, found[0])), 1 << 20)

    def test_command_line(self):
        self.assertEqual(
            r'''quiet "dyndbg=file a.c +p" a=\"b\" c\\d''',
            grubscript.command_line(
                ['quiet', 'dyndbg=file a.c +p', '', 'a="b"', 'c\\d']))
