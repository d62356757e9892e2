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

"""Kernel modules, packages and driver packs, as small as they can be."""

import gzip
import io
import struct
import tarfile


def module(release, needs=(), softdep='', checksums=None):
    """Return a kernel module that says this of itself.

    :param needs: names of other modules
    :param checksums: {symbol: number}
    """
    modinfo = b'\0'.join(fact.encode() for fact in (
        f'vermagic={release} SMP preempt mod_unload modversions ',
        f'depends={",".join(needs)}', *([f'softdep={softdep}'] if softdep
                                        else []))) + b'\0'
    versions = b''.join(
        struct.pack('<Q56s', number, symbol.encode())
        for symbol, number in (checksums or {}).items())
    names = b'\0.modinfo\0__versions\0.shstrtab\0'
    parts = ((0, b''), (1, modinfo), (10, versions), (21, names))
    content = bytearray(64)
    headers = b''
    for name, part in parts:
        headers += struct.pack('<IIQQQQIIQQ', name, 1, 0, 0, len(content),
                               len(part), 0, 0, 1, 0)
        content += part
    content[:64] = struct.pack(
        '<16sHHIQQQIHHHHHH', b'\x7fELF\2\1\1', 1, 62, 1, 0, 0, len(content), 0,
        64, 0, 0, 64, len(parts), 3)
    return bytes(content) + headers


def tar(files):
    """Return a tar of files, {path: content}."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode='w') as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def deb(package, version, files, compress=gzip.compress, suffix='gz'):
    """Return a .deb."""
    control = f'Package: {package}\nVersion: {version}\n'.encode()
    content = b'!<arch>\n'
    for name, member in (
            ('debian-binary', b'2.0\n'),
            (f'control.tar.{suffix}', compress(tar({'./control': control}))),
            (f'data.tar.{suffix}', compress(tar(files)))):
        content += f'{name:16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(member):<10}'\
            .encode() + b'`\n' + member + b'\n' * (len(member) % 2)
    return content


def rpm(package, version, release, files, compress=gzip.compress,
        payload='gzip'):
    """Return an .rpm."""
    store, index = b'', b''
    for tag, text in ((1000, package), (1001, version), (1002, release),
                      (1125, payload)):
        index += struct.pack('>IIII', tag, 6, len(store), 1)
        store += text.encode() + b'\0'
    begin = b'\x8e\xad\xe8\x01\0\0\0\0'
    signature = begin + struct.pack('>II', 0, 4) + b'sign'
    content = b'\xed\xab\xee\xdb'.ljust(96, b'\0') + signature
    content += bytes(-len(content) % 8)
    content += begin + struct.pack('>II', 4, len(store)) + index + store
    return content + compress(b''.join(
        _cpio(f'.{path}', member) for path, member in files.items())
        + _cpio('TRAILER!!!', b'', 0))


def _cpio(name, content, mode=0o100644):
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    header = b'070701' + b''.join(b'%08x' % field for field in fields)
    header += name.encode() + b'\0'
    header += bytes(-len(header) % 4)
    return header + content + bytes(-len(content) % 4)
