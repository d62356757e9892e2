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

"""Which packages bindep.txt names on which distribution."""

import os

from bindep import depends
import testtools

from nova_flexmem.host import preflight

_FILE = os.path.join(os.path.dirname(__file__), *[os.pardir] * 2, 'bindep.txt')

_DEBIAN = ('platform:debian', 'platform:debian-bookworm', 'platform:dpkg')
_NOBLE = ('platform:ubuntu', 'platform:ubuntu-noble', 'platform:dpkg')
_JAMMY = ('platform:ubuntu', 'platform:ubuntu-jammy', 'platform:dpkg')
_RHEL = ('platform:rhel', 'platform:rhel-9', 'platform:rpm')


def _packages(*profiles):
    with open(_FILE, encoding='utf-8') as f:
        rules = depends.Depends(f.read()).active_rules(profiles)
    return {rule[0] for rule in rules}


class BindepTest(testtools.TestCase):

    def test_what_runs_instances(self):
        for distribution, qemu in ((_DEBIAN, 'qemu-system-x86'),
                                   (_NOBLE, 'qemu-system-x86'),
                                   (_RHEL, 'qemu-kvm')):
            self.assertIn(qemu, _packages(*distribution))

    def test_guestfish(self):
        names = {'guestfish', 'libguestfs-tools', 'libguestfs'}
        for distribution, name in ((_DEBIAN, 'guestfish'),
                                   (_NOBLE, 'libguestfs-tools'),
                                   (_JAMMY, 'libguestfs-tools'),
                                   (_RHEL, 'libguestfs')):
            self.assertEqual({name}, names & _packages(*distribution))

    def test_what_the_preflight_says_is_missing(self):
        """Its packages are in bindep.txt or part of each system."""
        always = {'e2fsprogs', 'util-linux'}
        # libguestfs depends on it
        always.add('supermin')
        for distribution, position in ((_DEBIAN, 0), (_RHEL, -1)):
            wanted = {packages[position]
                      for packages in preflight._PROGRAMS.values()}
            self.assertEqual(set(),
                             wanted - always - _packages(*distribution))

    def test_database_of_the_cloud(self):
        for distribution, name in ((_DEBIAN, 'mariadb-server-core'),
                                   (_NOBLE, 'mariadb-server-core'),
                                   (_JAMMY, 'mariadb-server-core-10.6')):
            found = {package for package in _packages('cloud', *distribution)
                     if package.startswith('mariadb-server')}
            self.assertEqual({name}, found)
