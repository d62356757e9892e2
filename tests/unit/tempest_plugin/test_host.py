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

import os
import shlex
import sys

import testtools

from nova_flexmem.tempest_plugin import host

_GOLDEN = os.path.join(os.path.dirname(__file__), os.pardir, 'guest',
                       'golden')

_BASE = '/var/lib/nova-flexmem/bases/6b2e/root.pmem'

_SMAPS = f"""\
55d0c0000000-55d0c0400000 rw-p 00000000 00:00 0                  [heap]
Size:               4096 kB
Rss:                1000 kB
Shared_Clean:          0 kB
Shared_Dirty:          0 kB
Private_Clean:         0 kB
Private_Dirty:      1000 kB
VmFlags: rd wr mr mw me ac sd
7f0000000000-7f0000200000 r--s 00000000 fe:01 4711           {_BASE}
Size:               2048 kB
Rss:                  64 kB
Shared_Clean:         40 kB
Shared_Dirty:          0 kB
Private_Clean:        24 kB
Private_Dirty:         0 kB
VmFlags: rd mr mw me ms sd
7f0000200000-7f0000400000 r--s 00200000 fe:01 4711           {_BASE}
Size:               2048 kB
Rss:                 100 kB
Shared_Clean:         60 kB
Shared_Dirty:          8 kB
Private_Clean:        28 kB
Private_Dirty:         4 kB
VmFlags: rd mr mw me ms sd
7f0000400000-7f0000600000 r--p 00000000 fe:01 4712           {_BASE}.other
Size:               2048 kB
Rss:                 500 kB
Shared_Clean:        500 kB
Shared_Dirty:          0 kB
Private_Clean:         0 kB
Private_Dirty:         0 kB
"""


def _golden(name):
    with open(os.path.join(_GOLDEN, name)) as f:
        return f.read()


class DomainTest(testtools.TestCase):

    def test_flexmem(self):
        options = host.base_options(_golden('pc.flexmem.xml'))
        self.assertEqual((_BASE, 'on', 'on'),
                         (options['mem-path'], options['readonly'],
                          options['share']))

    def test_stock(self):
        for name in ('pc.stock.xml', 'commandline.stock.xml'):
            self.assertEqual({}, host.base_options(_golden(name)))


class MappingTest(testtools.TestCase):

    def test_all_parts_of_the_file_and_no_other(self):
        self.assertEqual(
            host.Mapping('r--s', ('fe:01', 4711), resident_kib=164,
                         shared_kib=108, dirty_kib=12),
            host.mapping(_SMAPS, _BASE))

    def test_not_mapped(self):
        self.assertIsNone(host.mapping(_SMAPS, '/elsewhere'))

    def test_of_a_process(self):
        """The kernel's own words, of this process."""
        with open('/proc/self/maps') as f:
            path = next(line.split()[5] for line in f
                        if line.rstrip().endswith('.so'))
        with open('/proc/self/smaps') as f:
            found = host.mapping(f.read(), path)
        self.assertEqual(os.stat(path).st_ino, found.file[1])
        self.assertGreater(found.resident_kib, 0)


class HostTest(testtools.TestCase):

    def test_command(self):
        command = shlex.join([
            sys.executable, '-c', 'import sys; print(sys.argv[1:])', '{host}'])
        self.assertEqual(
            "['node1', 'cat', '/a b']\n",
            host.Host(command, 'node1').run('cat', '/a b'))
