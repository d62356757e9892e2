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

from nova_flexmem import exception


class MessageTest(testtools.TestCase):

    def test_what_a_terminal_would_obey_is_spelt_out(self):
        e = exception.ImageRefused(image='/images/a', reason='it is\n  \x1b[2J'
                                   'Evil\u202e\x9b \udcff\0 Linux \u00e9\r')
        self.assertEqual('/images/a: it is \\x1b[2JEvil\\u202e\\x9b \\udcff'
                         '\\x00 Linux \u00e9', str(e))
        self.assertTrue(str(e).isprintable())
