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

"""Archives as streams, within limits: tar and cpio, decompressed.

Nothing is unpacked onto the disk. See tar(5) and the cpio format newc.
"""

import gzip
import io
import lzma
import re
import typing

import zstandard

MIB = 1 << 20

_MAX_UNPACKED_BYTES = 6144 * MIB
_MAX_MEMBERS = 200_000
_MAX_NAME_BYTES = 4096
_MAX_EXTENSION_BYTES = MIB
_CHUNK_BYTES = MIB


class Stream:
    """Reads what a part of a file holds, decompressed, to a limit.

    :param compression: as files and rpm call it: xz, lzma, zst, zstd, gz,
        gzip; '' for none
    """

    def __init__(self, f, size, compression):
        part: typing.Any = _Part(f, size)
        if compression in ('xz', 'lzma'):
            self._next = _Lzma(part).read
        elif compression in ('zst', 'zstd'):
            self._next = zstandard.ZstdDecompressor(
                max_window_size=128 * MIB).stream_reader(part).read
        elif compression in ('gz', 'gzip'):
            self._next = gzip.GzipFile(fileobj=io.BufferedReader(part)).read
        elif compression == '':
            self._next = part.read
        else:
            raise ValueError(f'compressed with {compression}')
        self._left = _MAX_UNPACKED_BYTES

    def read(self, size, end_is_fine=False):
        """Return exactly as many bytes, at most a few MiB."""
        pieces: list[bytes] = []
        while size:
            try:
                piece = self._next(min(size, _CHUNK_BYTES))
            except (lzma.LZMAError, zstandard.ZstdError, EOFError,
                    OSError) as e:
                raise ValueError(f'damaged ({e})')
            if not piece:
                if end_is_fine and not pieces:
                    break
                raise ValueError('cut short')
            pieces.append(piece)
            size -= len(piece)
            self._left -= len(piece)
            if self._left < 0:
                raise ValueError('it unpacks to over'
                                 f' {_MAX_UNPACKED_BYTES // MIB} MiB')
        return b''.join(pieces)

    def skip(self, size):
        """Read and forget bytes."""
        while size:
            size -= len(self.read(min(size, _CHUNK_BYTES)))


class _Part(io.RawIOBase):
    """The next bytes of a file, as a file."""

    def __init__(self, f, size):
        super().__init__()
        self._file = f
        self._left = size

    def readable(self):
        return True

    def readinto(self, buffer):
        content = self._file.read(min(len(buffer), self._left))
        self._left -= len(content)
        buffer[:len(content)] = content
        return len(content)


class _Lzma:
    """Decompresses xz, with a limit on memory."""

    def __init__(self, part):
        self._part = part
        self._decompressor = lzma.LZMADecompressor(memlimit=256 * MIB)

    def read(self, size):
        """Return up to as many bytes, none at the end."""
        while not self._decompressor.eof:
            more = b''
            if self._decompressor.needs_input:
                more = self._part.read(1 << 16)
                if not more:
                    raise ValueError('cut short')
            content = self._decompressor.decompress(more, size)
            if content:
                return content
        return b''


def _members(stream, size, padding):
    """Return (a function that reads a member, one that skips the rest)."""
    left = [size]

    def read(max_bytes):
        if size > max_bytes:
            raise ValueError(f'a file of {size} bytes in it')
        left[0] = 0
        return stream.read(size)

    def finish():
        stream.skip(left[0] + padding)

    return read, finish


def tar(stream):
    """Yield the regular files of a tar.

    :param stream: a Stream
    :returns: (name, size in bytes, a function that reads it and takes the
        largest size that is fine) of each; it is read before the next one is
        asked for
    :raises: ValueError
    """
    longer = None
    for _number in range(_MAX_MEMBERS):
        header = stream.read(512, end_is_fine=True)
        if not header or not header.strip(b'\0'):
            return
        name = header[:100].partition(b'\0')[0]
        if header[257:262] == b'ustar' and header[345]:
            name = header[345:500].partition(b'\0')[0] + b'/' + name
        size = number_of(header[124:136], 8)
        kind = header[156:157]
        read, finish = _members(stream, size, -size % 512)
        if kind in (b'L', b'x'):
            content = read(_MAX_EXTENSION_BYTES)
            if kind == b'L':
                longer = content.rstrip(b'\0')
            else:
                path = re.search(rb'(?:^|\n)\d+ path=([^\n]*)\n', content)
                longer = path[1] if path else longer
        elif kind in (b'0', b'\0'):
            yield _text(longer or name), size, read
            longer = None
        elif kind not in (b'g', b'K'):
            longer = None
        finish()
    raise ValueError(f'it has over {_MAX_MEMBERS} files')


def cpio(stream):
    """Yield the regular files of a cpio archive, as tar() does."""
    for _number in range(_MAX_MEMBERS):
        header = stream.read(110)
        if header[:6] not in (b'070701', b'070702'):
            raise ValueError('its content is no cpio archive')
        fields = [number_of(header[at:at + 8], 16)
                  for at in range(6, 110, 8)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        if name_size > _MAX_NAME_BYTES:
            raise ValueError('a file with a very long name in it')
        name = _text(stream.read(name_size).rstrip(b'\0'))
        stream.skip(-(110 + name_size) % 4)
        if name == 'TRAILER!!!':
            return
        read, finish = _members(stream, size, -size % 4)
        if mode >> 12 == 8:  # S_IFREG
            yield name, size, read
        finish()
    raise ValueError(f'it has over {_MAX_MEMBERS} files')


def number_of(field, base):
    """Return a number in a header, text of a base."""
    text = field.strip(b' \0').decode(errors='replace')
    if not re.fullmatch('[0-9a-fA-F]{1,12}', text):
        raise ValueError('damaged (a size in it)')
    return int(text, base)


def _text(name):
    if len(name) > _MAX_NAME_BYTES:
        raise ValueError('a file with a very long name in it')
    return name.decode(errors='replace')
