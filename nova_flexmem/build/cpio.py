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

"""cpio archives in the format "newc", which Linux unpacks as its initramfs.

Format: Documentation/driver-api/early-userspace/buffer-format.rst in Linux.
"""

import itertools
import re
import stat

_MAGIC = b'070701'
_HEADER = re.compile(_MAGIC + b'([0-9A-Fa-f]{8})' * 13)
_HEADER_BYTES = 110
#: Places of two of the header's 13 fields.
_FILE_SIZE, _NAME_SIZE = 6, 11
_END = 'TRAILER!!!'
_ALIGN_BYTES = 4


def pack(members):
    """Return an archive. All files belong to root and are of 1970.

    :param members: (name, mode, content) of each; a symbolic link's content
        is where it leads to
    """
    parts = []
    for inode, (name, mode, content) in enumerate(
            itertools.chain(members, [(_END, 0, b'')])):
        encoded = name.encode() + b'\0'
        links = 2 if stat.S_ISDIR(mode) else 1
        fields = (inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0,
                  len(encoded), 0)
        header = _MAGIC + b''.join(b'%08X' % field for field in fields)
        parts += [_aligned(header + encoded), _aligned(content)]
    return b''.join(parts)


def unpack(archive):
    """Return {name: content} of an archive's members.

    :raises: ValueError if it is not a whole archive
    """
    members: dict[str, bytes] = {}
    offset = 0
    while True:
        header = _HEADER.match(archive, offset)
        if not header:
            raise ValueError(f'no header of a cpio member at byte {offset}')
        fields = [int(field, 16) for field in header.groups()]
        begin = offset + _HEADER_BYTES
        name = archive[begin:begin + fields[_NAME_SIZE]].rstrip(b'\0').decode()
        if name == _END:
            return members
        begin = _next(begin + fields[_NAME_SIZE])
        end = begin + fields[_FILE_SIZE]
        if end > len(archive):
            raise ValueError(f'{name} in the cpio archive is cut short')
        members[name] = archive[begin:end]
        offset = _next(end)


def _aligned(data):
    return data.ljust(_next(len(data)), b'\0')


def _next(offset):
    return -(-offset // _ALIGN_BYTES) * _ALIGN_BYTES
