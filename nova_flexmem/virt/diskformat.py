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

"""Disks in files of one format or another, by qemu-img.

The format is always said, never found out from what a guest wrote.
"""

import json

from nova_flexmem import process

#: Seconds for a look at a disk.
TIMEOUT_S = 600


def size_bytes(path, disk_format):
    """Return the size of a disk, as its guest sees it."""
    info = process.run('qemu-img', 'info', '--output=json', '-f', disk_format,
                       path, timeout_s=TIMEOUT_S)
    return json.loads(info)['virtual-size']


def convert(path, disk_format, target, target_format, size_bytes):
    """Copy a disk into another file.

    :param size_bytes: of the disk, at most
    """
    process.write_disk('qemu-img', 'convert', '-f', disk_format, '-O',
                       target_format, path, target, size_bytes=size_bytes)


def resize(path, disk_format, size_bytes):
    """Give a disk another size."""
    process.write_disk('qemu-img', 'resize', '-q', '-f', disk_format, path,
                       str(size_bytes), size_bytes=size_bytes)
