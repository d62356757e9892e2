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

"""Reads the data of an image in Nova's image cache, raw or qcow2.

Nothing is written, and no program opens the file for writing. The layout of
qcow2 is that of docs/interop/qcow2.txt in QEMU's source.
"""

import array
import os
import struct
import sys
import zlib

import zstandard

from nova_flexmem import exception
from nova_flexmem.host import pages
from nova_flexmem.image import source
from nova_flexmem.image import sparse

#: Data is given in pieces of whole pages, this size at most where the format
#: does not want larger ones.
_CHUNK_BYTES = 1 << 20

#: magic, version, (backing file), cluster_bits, size, crypt_method, l1_size,
#: l1_table_offset
_HEADER = struct.Struct('>4sI8x4xIQIIQ')
_INCOMPATIBLE = struct.Struct('>72xQ')
_COMPRESSION = struct.Struct('>104xB')

_OFFSET = (1 << 56) - (1 << 9)
_COMPRESSED, _ZERO = 1 << 62, 1
_SECTOR_BYTES = 512
_LAST_OFFSET = (1 << 62) - 1

#: Features that change where data is: external data file, extended entries.
_UNKNOWN_PLACES = 1 << 2 | 1 << 4

#: Most memory that zstd may take for one cluster; QEMU's own need 2 MiB.
_ZSTD_WINDOW_BYTES = 8 << 20
_HAS_COMPRESSION_TYPE = 1 << 3


def chunks(image, progress):
    """Yield the data of an image, in pieces of whole pages.

    Holes are left out. The end of the last piece is filled with zeros.

    :param image: the source.Source
    :param progress: called with the fraction done, 0 to 1
    :raises: BuildFailed if the file cannot be read, ImageRefused if its
        format cannot be read here
    """
    try:
        fd = os.open(image.path, os.O_RDONLY)
        try:
            if image.format == 'qcow2':
                yield from _Qcow2(fd, image).chunks(progress)
            else:
                yield from _raw(fd, image.virtual_size_bytes, progress)
        finally:
            os.close(fd)
    except OSError as e:
        raise source.unreadable(image.path, e)


def _raw(fd, size_bytes, progress):
    for offset, extent_bytes in sparse.extents(fd):
        # a hole may end within a page
        start, end = offset - offset % pages.PAGE_BYTES, offset + extent_bytes
        for position in range(start, end, _CHUNK_BYTES):
            progress(position / size_bytes)
            yield _whole_pages(os.pread(fd, min(_CHUNK_BYTES, end - position),
                                        position))


class _Qcow2:
    """A qcow2 file without backing file and data file, open for reading."""

    def __init__(self, fd, image):
        self._fd = fd
        self._path = image.path
        self._size_bytes = image.virtual_size_bytes
        (_magic, version, self._cluster_bits, _size_bytes, encryption,
         self._l1_size, self._l1_offset) = _HEADER.unpack(
             self._read(0, _HEADER.size))
        self._zstd = False
        features = 0
        if version >= 3:
            [features] = _INCOMPATIBLE.unpack(
                self._read(0, _INCOMPATIBLE.size))
            if features & _HAS_COMPRESSION_TYPE:
                [self._zstd] = _COMPRESSION.unpack(
                    self._read(0, _COMPRESSION.size))
        if encryption or features & _UNKNOWN_PLACES:
            raise self._refused('it is encrypted, or has extended L2 entries')
        if not 9 <= self._cluster_bits <= 21:
            raise self._refused('its cluster size is not valid')
        self._cluster_bytes = 1 << self._cluster_bits

    def chunks(self, progress):
        """Yield the clusters with data; small ones several at a time."""
        together = max(1, pages.PAGE_BYTES // self._cluster_bytes)
        entries_per_table = self._cluster_bytes // 8
        clusters = -(-self._size_bytes // self._cluster_bytes)
        tables = -(-clusters // entries_per_table)
        if tables > self._l1_size:
            raise self._refused('its table of clusters is too short')
        for number, table in enumerate(self._words(self._l1_offset, tables)):
            progress(number / tables)
            if not table & _OFFSET:
                continue
            # no more than the disk has: all may name one cluster
            entries = self._words(table & _OFFSET, min(
                entries_per_table, clusters - number * entries_per_table))
            for first in range(0, len(entries), together):
                group = entries[first:first + together]
                if any(map(_has_data, group)):
                    yield _whole_pages(b''.join(map(self._cluster, group)))

    def _cluster(self, entry):
        if not _has_data(entry):
            return bytes(self._cluster_bytes)
        if not entry & _COMPRESSED:
            return self._read(entry & _OFFSET, self._cluster_bytes,
                              fill=True)
        bits = 62 - (self._cluster_bits - 8)
        offset = entry & ((1 << bits) - 1)
        sectors = ((entry & (_COMPRESSED - 1)) >> bits) + 1
        data = self._read(
            offset, sectors * _SECTOR_BYTES - offset % _SECTOR_BYTES,
            fill=True)
        try:
            if self._zstd:
                content = zstandard.ZstdDecompressor(
                    max_window_size=_ZSTD_WINDOW_BYTES).stream_reader(
                        data).read(self._cluster_bytes)
            else:
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(
                    data, self._cluster_bytes)
        except (zlib.error, zstandard.ZstdError) as e:
            raise self._refused(f'a compressed cluster is damaged ({e})')
        return content.ljust(self._cluster_bytes, b'\0')

    def _words(self, offset, count):
        words = array.array('Q', self._read(offset, count * 8))
        if sys.byteorder == 'little':
            words.byteswap()
        return words

    def _read(self, offset, size_bytes, fill=False):
        """Return a part of the file.

        :param fill: give zeros for what is beyond the end of the file
        """
        if offset > _LAST_OFFSET:
            raise self._refused('a table names a place that no file has')
        content = os.pread(self._fd, size_bytes, offset)
        if len(content) < size_bytes:
            if not fill:
                raise self._refused('it is cut short')
            content = content.ljust(size_bytes, b'\0')
        return content

    def _refused(self, reason):
        return exception.ImageRefused(image=self._path, reason=reason)


def _has_data(entry):
    if entry & _COMPRESSED:
        return True
    return bool(entry & _OFFSET) and not entry & _ZERO


def _whole_pages(content):
    count = -(-len(content) // pages.PAGE_BYTES)
    return content.ljust(count * pages.PAGE_BYTES, b'\0')
