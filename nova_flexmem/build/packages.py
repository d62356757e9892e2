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

"""Reads packages: .deb and .rpm, as streams, within limits.

See deb(5), ar(5), and the RPM file format (rpm.org, "RPM v4 package format").
"""

import dataclasses
import io
import os
import re
import struct
import typing

from nova_flexmem.build import archives

MIB = 1 << 20

_MAX_PACKAGE_BYTES = 1024 * MIB
_MAX_HEADER_BYTES = 16 * MIB
_MAX_CONTROL_BYTES = MIB

_DEB, _RPM = b'!<arch>\n', b'\xed\xab\xee\xdb'
_RPM_HEADER = b'\x8e\xad\xe8\x01'
_RPM_TAGS = {1000: 'name', 1001: 'version', 1002: 'release', 1125: 'payload'}


@dataclasses.dataclass(frozen=True)
class Package:
    """A package file.

    :ivar name: of the package
    :ivar version: with the release or revision
    """

    name: str
    version: str
    _archive: typing.Callable
    _path: str

    def members(self):
        """Yield (name, size in bytes, a function that reads it) of each file.

        The function is for before the next file is asked for.

        :raises: ValueError if it is damaged, or larger than is sane
        """
        with open(self._path, 'rb') as f:
            yield from self._archive(f)


def open_package(path):
    """Return the Package at a path.

    :raises: ValueError if it is none; OSError
    """
    if os.path.getsize(path) > _MAX_PACKAGE_BYTES:
        raise ValueError(f'larger than {_MAX_PACKAGE_BYTES // MIB} MiB')
    with open(path, 'rb') as f:
        begin = f.read(8)
        f.seek(0)
        if begin == _DEB:
            return _deb(f, path)
        if begin[:4] == _RPM:
            return _rpm(f, path)
    raise ValueError('neither a .deb nor an .rpm package')


def _deb(f, path):
    control = ''
    for name, _size, read in archives.tar(_deb_member(f, 'control.tar')):
        if name.removeprefix('./') == 'control':
            control = read(_MAX_CONTROL_BYTES).decode(errors='replace')
    fields = dict(re.findall(r'^(\w+): *(\S+)', control, re.MULTILINE))
    if not {'Package', 'Version'} <= fields.keys():
        raise ValueError('its control file names no package')
    return Package(fields['Package'], fields['Version'],
                   lambda f: archives.tar(_deb_member(f, 'data.tar')), path)


def _deb_member(f, wanted):
    """Return a member of a .deb as a stream, decompressed."""
    f.seek(len(_DEB))
    for _number in range(20):
        header = f.read(60)
        if len(header) < 60:
            break
        name = header[:16].decode(errors='replace').strip().rstrip('/')
        size = archives.number_of(header[48:58], 10)
        if name.startswith(wanted):
            return archives.Stream(
                f, size, name.removeprefix(wanted).lstrip('.'))
        f.seek(size + size % 2, io.SEEK_CUR)
    raise ValueError(f'it has no {wanted}')


def _rpm(f, path):
    f.seek(96)
    _rpm_header(f)  # the signatures
    f.seek(-f.tell() % 8, io.SEEK_CUR)
    facts = _rpm_header(f)
    if not {'name', 'version', 'release'} <= facts.keys():
        raise ValueError('its header names no package')
    offset = f.tell()

    def archive(f):
        f.seek(offset)
        size = os.fstat(f.fileno()).st_size - offset
        return archives.cpio(archives.Stream(
            f, size, facts.get('payload', 'gzip')))

    return Package(facts['name'], f'{facts["version"]}-{facts["release"]}',
                   archive, path)


def _rpm_header(f):
    """Return {name: text} of the tags of a header that matter here."""
    begin = f.read(16)
    if len(begin) < 16 or begin[:4] != _RPM_HEADER:
        raise ValueError('its header is damaged')
    count, size = struct.unpack('>II', begin[8:])
    if count * 16 + size > _MAX_HEADER_BYTES:
        raise ValueError('its header is too large')
    index, store = f.read(count * 16), f.read(size)
    if len(index) + len(store) < count * 16 + size:
        raise ValueError('cut short')
    facts = {}
    for tag, _kind, offset, _count in struct.iter_unpack('>IIII', index):
        if tag in _RPM_TAGS:
            text = store[offset:offset + 256].partition(b'\0')[0]
            facts[_RPM_TAGS[tag]] = text.decode(errors='replace')
    return facts
