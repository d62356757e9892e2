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

"""What is uploaded of a base: its files, one behind the other, compressed.

There are no names and no sizes in the archive: both are in the manifest, which
is a property of the image in Glance. So nothing in an archive decides where
something is written, or how much.
"""

import os

import zstandard

from nova_flexmem import exception
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore

#: zstd's own default: a faster level saves less than it costs Glance.
_LEVEL = 3

#: Of memory for decompression; what level 3 needs is less.
_MAX_WINDOW_BYTES = 64 << 20

_CHUNK_BYTES = 4 << 20

#: What a column of Glance's database takes.
_MAX_MANIFEST_BYTES = 60_000

#: Kernel and initramfs of a base, each.
_MAX_BOOT_FILE_BYTES = 1 << 30


def read_manifest(base):
    """Return the text of a base's manifest.

    :raises: PublishFailed if Glance cannot keep it
    """
    with open(base.file(basefiles.MANIFEST), encoding='ascii') as f:
        text = f.read()
    if len(text) > _MAX_MANIFEST_BYTES:
        raise exception.PublishFailed(
            reason=f'the manifest of base {base.key} has {len(text)} bytes,'
            f' and Glance keeps {_MAX_MANIFEST_BYTES}')
    return text


def write_manifest(folder, text, max_base_size_bytes):
    """Write the manifest of a published base, and check what it promises.

    :param folder: an empty folder, named by the base's key
    :param text: what Glance has of it
    :param max_base_size_bytes: of the root filesystem
    :returns: the basefiles.Base, as yet without files
    :raises: BaseDamaged, PublishFailed
    """
    path = os.path.join(folder, basefiles.MANIFEST)
    if len(text) > _MAX_MANIFEST_BYTES:
        raise exception.PublishFailed(reason=f'a manifest of {len(text)}'
                                      ' characters')
    with open(path, 'x', encoding='utf-8') as f:
        f.write(text)
    base = basefiles.Base(folder)
    manifest = base.manifest
    key = basestore.key_of(base.layout, manifest.image_sha256, manifest.scope)
    if manifest.format < basefiles.FORMAT or manifest.key != key:
        raise exception.BaseDamaged(
            path=path, key=base.key, reason='its key does not follow from its'
            ' content')
    for name, file in manifest.files.items():
        limit = (max_base_size_bytes + (64 << 20)
                 if name == basefiles.ROOT_PMEM else _MAX_BOOT_FILE_BYTES)
        if file.size_bytes > limit:
            raise exception.PublishFailed(
                reason=f'{name} of base {base.key} has'
                f' {file.size_bytes >> 20} MiB, the limit is {limit >> 20}'
                ' MiB; raise [flexmem] max_base_size_gib to take it')
    return base


def size_bytes(base):
    """Return the size of a base's files."""
    return sum(file.size_bytes for file in base.manifest.files.values())


def max_packed_bytes(base):
    """Return the size that a base's archive has at most.

    zstd adds less than 1 % to what it cannot compress.
    """
    return size_bytes(base) + size_bytes(base) // 100 + (1 << 20)


def pack(base, path):
    """Write a base's files into a new archive.

    :raises: OSError
    """
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    with open(path, 'xb') as f, compressor.stream_writer(
            f, size=size_bytes(base), closefd=False) as out:
        for name in basefiles.FILES:
            with open(base.file(name), 'rb') as source:
                while chunk := source.read(_CHUNK_BYTES):
                    out.write(chunk)


def unpack(path, base):
    """Write the files of a base that has its manifest alone; verify them.

    :param path: of the archive
    :param base: what write_manifest() returned
    :raises: BaseDamaged, OSError
    """
    decompressor = zstandard.ZstdDecompressor(
        max_window_size=_MAX_WINDOW_BYTES)
    try:
        with open(path, 'rb') as f:
            with decompressor.stream_reader(f, closefd=False) as source:
                for name in basefiles.FILES:
                    _copy(source, base, name)
                if source.read(1):
                    raise _damaged(path, base, 'it has more than the files of'
                                   ' the base')
    except zstandard.ZstdError as e:
        raise _damaged(path, base, str(e))
    base.verify()


def _copy(source, base, name):
    left = base.manifest.files[name].size_bytes
    with open(base.file(name), 'xb') as f:
        if left:  # a disk that gets full is known of now
            os.posix_fallocate(f.fileno(), 0, left)
        while left:
            chunk = source.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise _damaged(base.file(name), base,
                               f'it ends {left} bytes too soon')
            f.write(chunk)
            left -= len(chunk)


def _damaged(path, base, reason):
    return exception.BaseDamaged(path=path, key=base.key, reason=reason)
