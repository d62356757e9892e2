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

"""What a kernel module says of itself: an ELF file, see elf(5) and modinfo(8).
"""

import dataclasses
import struct

_MAX_SECTIONS = 4096


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a module says.

    :ivar release: of the kernel that it was built for
    :ivar needs: names of the modules that it needs
    :ivar checksums: {symbol: checksum of its kind} of what it takes from the
        kernel and from other modules; empty if the kernel has none
    """

    release: str
    needs: tuple[str, ...]
    checksums: dict[bytes, int]


def read(content):
    """Return the Facts of a module.

    :param content: the module, not compressed
    :raises: ValueError if it is not one for x86_64
    """
    try:
        sections = _sections(content)
    except (struct.error, IndexError):
        raise ValueError('not a whole ELF file')
    fields: dict[bytes, list[str]] = {}
    for fact in sections.get(b'.modinfo', b'').split(b'\0'):
        name, _equals, value = fact.partition(b'=')
        fields.setdefault(name, []).append(value.decode(errors='replace'))
    release = ' '.join(fields.get(b'vermagic', [])).partition(' ')[0]
    if not release:
        raise ValueError('not a kernel module')
    needs = [*' '.join(fields.get(b'depends', [])).split(',')]
    for soft in fields.get(b'softdep', []):
        needs += loaded_before(soft.split())
    return Facts(release,
                 tuple(need.replace('-', '_') for need in needs if need),
                 _checksums(sections.get(b'__versions', b'')))


def loaded_before(words):
    """Return the modules behind "pre:" in a soft dependency (modprobe.d(5)).

    :param words: those of the dependency, a list
    """
    before = words[words.index('pre:') + 1:] if 'pre:' in words else []
    return before[:before.index('post:')] if 'post:' in before else before


def _sections(content):
    """Return {name: content} of the sections of a relocatable ELF file."""
    if content[:6] != b'\x7fELF\2\1':
        raise ValueError('not an ELF file of 64 bits')
    kind, machine = struct.unpack_from('<HH', content, 16)
    if (kind, machine) != (1, 62):  # ET_REL, EM_X86_64
        raise ValueError('not a kernel module for x86_64')
    start, = struct.unpack_from('<Q', content, 40)
    size, count, names_at = struct.unpack_from('<HHH', content, 58)
    if size < 64 or count > _MAX_SECTIONS:
        raise ValueError('not a kernel module')
    headers = [struct.unpack_from('<II8xQQQ', content, start + size * number)
               for number in range(count)]
    names_offset = headers[names_at][3]
    contents: dict[bytes, bytes] = {}
    for name, _kind, _address, offset, length in headers:
        begin = names_offset + name
        label = content[begin:begin + 64].partition(b'\0')[0]
        if label in (b'.modinfo', b'__versions'):
            contents[label] = content[offset:offset + length]
    return contents


def _checksums(section):
    """Return what struct modversion_info of the kernel has, 64 bytes each."""
    checksums = {}
    for offset in range(0, len(section) - 63, 64):
        checksum, = struct.unpack_from('<Q', section, offset)
        name = section[offset + 8:offset + 64].partition(b'\0')[0]
        checksums[name] = checksum
    return checksums
