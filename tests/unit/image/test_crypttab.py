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

from nova_flexmem.image import crypttab

_TEXT = """\
# <name> <device> <key> <options>
 swap\tUUID="AB-1"  /dev/urandom swap
home /dev/vda4
#old UUID=ab-1 none
volume UUID=ef-5 none luks
word

"""
_KNOWN = {'UUID=ab-1': '/dev/sda2', '/dev/sda4': '/dev/sda4'}


class CrypttabTest(testtools.TestCase):

    def test_names(self):
        self.assertEqual({'swap', 'home'}, crypttab.names(_TEXT, _KNOWN))
        self.assertEqual(set(), crypttab.names(_TEXT, {}))
        self.assertEqual(set(), crypttab.names('', _KNOWN))

    def test_reduce(self):
        self.assertEqual("""\
# <name> <device> <key> <options>
# flexmem:  swap\tUUID="AB-1"  /dev/urandom swap
# flexmem: home /dev/vda4
#old UUID=ab-1 none
volume UUID=ef-5 none luks
word

""", crypttab.reduce(_TEXT, _KNOWN))

    def test_restore(self):
        added = 'more /dev/vdb\n'
        self.assertEqual(_TEXT + added, crypttab.restore(
            crypttab.reduce(_TEXT, _KNOWN) + added))
