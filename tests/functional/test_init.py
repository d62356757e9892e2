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

"""What /init leaves to the image's own init, in guests without one."""

import os
import pathlib
import struct
import tempfile

import testtools

from tests.functional import tiny_guest

#: An ACL as setxattr(2) takes it (linux/posix_acl_xattr.h): version, then tag,
#: permissions and id of each entry. User 7 may read.
_ACL = struct.pack('<I', 2) + b''.join(
    struct.pack('<HHI', *entry) for entry in (
        (1, 7, 0xffffffff), (2, 4, 7), (4, 5, 0xffffffff),
        (16, 5, 0xffffffff), (32, 5, 0xffffffff)))

_ATTRIBUTES = {'security.selinux': b'system_u:object_r:root_t:s0\0',
               'system.posix_acl_access': _ACL, 'user.of_the_image': b'kept'}

_LOOK = """
PATH=$PATH:/usr/bin
for folder in / /srv/direct; do
    echo "$folder $(stat -c '%a %u:%g' $folder)"
    getfattr -d -m '^(security|system|user)' -e hex --absolute-names $folder |
        grep =
done
"""

_MOUNTED = 'awk \'$2 ~ "^/(dev|proc|sys)$" { print $2, $4 }\' /proc/mounts'


class InitTest(testtools.TestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if os.geteuid() != 0:
            cls.skipTest(cls, 'needs root, to set attributes of files')
        cls.folder = pathlib.Path(cls.enterClassContext(
            tempfile.TemporaryDirectory(prefix='flexmem-test-',
                                        dir='/var/tmp')))
        tree = tiny_guest.make_tree(cls.folder / 'tree')
        tiny_guest.install(tree, '/bin/cp', '/bin/tar', '/usr/bin/getfattr')
        (tree / 'srv/direct').mkdir(parents=True)
        (tree / 'home/user').mkdir(parents=True)
        os.chown(tree / 'home/user', 7, 8)
        (tree / 'etc/flexmem').mkdir(parents=True)
        (tree / 'etc/flexmem/direct').write_text('/home/*/own  # a note\n')
        for path in (tree, tree / 'srv/direct'):
            os.chown(path, 3, 4)
            for name, value in _ATTRIBUTES.items():
                os.setxattr(path, name, value)
        cls.base = tiny_guest.Base(cls.folder / 'base', tree)
        cls.kernel = tiny_guest.Kernel(tiny_guest.SYSTEMS[0])

    def test_a_boot(self):
        guest = tiny_guest.Guest(self.folder / 'guest')
        seen = guest.boot(
            self.base, self.kernel,
            f'{_LOOK}\n{_MOUNTED}\nls /run\n'
            'stat -c "%u:%g" /home/user/own; grep -c'
            ' " /home/user/own ext4 " /proc/mounts\n'
            'cat /run/flexmem/delta/direct.list\n'
            'cat /sys/module/virtio_blk/parameters/queue_depth',
            arguments=['flexmem.direct=/srv/direct',
                       'virtio-blk.queue_depth=24'])
        attributes = sorted(f'{name}=0x{value.hex()}'
                            for name, value in _ATTRIBUTES.items())
        lines = seen.splitlines()
        for folder in ('/', '/srv/direct'):
            self.assertEqual(f'{folder} 755 3:4', lines.pop(0))
            self.assertEqual(attributes, sorted(lines[:3]))
            del lines[:3]
        options = dict(line.split() for line in lines[:3])
        for path, wanted in (('/dev', {'nosuid'}),
                             ('/proc', {'nosuid', 'nodev', 'noexec'}),
                             ('/sys', {'nosuid', 'nodev', 'noexec'})):
            self.assertLessEqual(wanted, set(options[path].split(',')))
        # no folder of systemd, as that is not the init; and the parameter
        self.assertEqual(['flexmem', '7:8', '1', '/home/user/own', '24'],
                         lines[3:])

    def test_reason_on_all_consoles(self):
        guest = tiny_guest.Guest(self.folder / 'failing')
        # what is printed goes to the last console, which is not read here
        self.assertRaises(AssertionError, guest.boot, self.base, self.kernel,
                          '', arguments=['console=tty0',
                                         'flexmem.writes=nowhere'])
        self.assertIn('flexmem: FATAL: flexmem.writes=nowhere on the kernel'
                      ' command line', guest.console)
        self.assertIn('flexmem: FATAL: the guest cannot start', guest.console)
