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

"""What images take of the host's memory, at the sizes that hurt."""

import struct
import sys

from nova_flexmem import process
from tests.unit.image import diskimages

_SNAPSHOTS = 65_536

#: Inspects an image; prints what this took of memory at most, in MiB, here
#: and in the largest helper program.
_INSPECT = """
import resource, sys
from nova_flexmem import exception
from nova_flexmem.image import source
try:
    source.inspect(sys.argv[1], max_virtual_size_bytes=1 << 40)
except exception.ImageRefused as e:
    print(e)
else:
    print('taken')
for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
    print(resource.getrusage(who).ru_maxrss >> 10)
"""


class MemoryTest(diskimages.DiskImagesTestCase):

    def test_as_many_snapshots_as_qemu_takes(self):
        path = self.path('disk')
        self.qemu_img('create', '-q', '-f', 'qcow2', path, '1G')
        with open(path, 'r+b') as f:
            table = -(-f.seek(0, 2) // 65536) * 65536
            f.seek(table)
            for number in range(_SNAPSHOTS):
                f.write(_snapshot(str(number).encode(), b'n' * 900))
            f.seek(60)
            f.write(struct.pack('>IQ', _SNAPSHOTS, table))
        answer, *memory_mib = process.run(
            sys.executable, '-c', _INSPECT, path, timeout_s=200,
            limits=process.Limits(None, None, None),
            env={'PYTHONPATH': ':'.join(sys.path)}).splitlines()
        # clusters of the table are not counted
        self.assertIn('corruptions', answer)
        self.assertLess(sum(map(int, memory_mib)), 1024)


def _snapshot(identity, name):
    """Return an entry of the table, see docs/interop/qcow2.txt of QEMU."""
    entry = struct.pack('>QIHHIIQIIQQ', 0, 0, len(identity), len(name), 0, 0,
                        0, 0, 16, 0, 1 << 30) + identity + name
    return entry + bytes(-len(entry) % 8)
