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

"""Has the appliance decompress files of an image.

What decompresses a tenant's file can be taken over by it, and so is not on the
host.
"""

import base64
import os
import shlex

from nova_flexmem import exception

_PROGRAMS = {
    '.xz': 'xz --decompress --stdout --memlimit-decompress=256MiB',
    '.zst': 'zstd --decompress --stdout --quiet --memory=64MiB',
    '.gz': 'gzip --decompress --stdout'}

#: Prints for each file its size, or why there is none; ends where all are too
#: much together. ulimit counts blocks of 512 bytes, and its signal is SIGXFSZ.
_SCRIPT = """
exec 2> /dev/null
mkdir -p {folder} && cd {folder} && : > all || exit 1
left={max_all}
one() {{
    file=$1
    shift
    why=$( (ulimit -f {max_blocks} && exec "$@" < "$file" > one) 2>&1 )
    case $? in
    0)  size=$(stat -c %s one)
        left=$((left - size))
        [ $left -ge 0 ] || exit 0
        cat one >> all
        echo "size $size" ;;
    153) echo "why it is too large" ;;
    *)  echo "why $(echo "$why" | head -n 1 | head -c 200)" ;;
    esac
}}
"""

#: Of a message between libguestfs and its daemon there is 4 MiB at most.
_PART_BYTES = 2 << 20


def read(appliance, files, max_bytes, max_all_bytes, folder='/tmp/plain'):
    """Return the content of files, and for some, why there is none.

    :param appliance: a running Appliance
    :param files: {name, which ends with .xz, .zst or .gz: path in the
        appliance}
    :param max_bytes: of one file
    :param max_all_bytes: of all of them
    :param folder: for temporary files, in the appliance
    :returns: {name: bytes, or a str that says why there are none}, without
        those with which they would be more than max_all_bytes
    :raises: ProgramFailed
    """
    script = _SCRIPT.format(folder=folder, max_all=max_all_bytes,
                            max_blocks=max_bytes // 512)
    results = [_size(line) for line in appliance.shell(script + '\n'.join(
        f'one {shlex.quote(path)} {_PROGRAMS[os.path.splitext(name)[1]]}'
        for name, path in files.items()))]
    content = _fetch(appliance, f'{folder}/all', sum(
        size for size in results if isinstance(size, int)))
    found: dict[str, bytes | str] = {}
    for name, result in zip(files, results):
        if isinstance(result, int):
            found[name], content = content[:result], content[result:]
        else:
            found[name] = result
    return found


def _size(line):
    kind, _space, text = line.partition(' ')
    if kind == 'size' and text.isdecimal() and len(text) < 12:
        return int(text)
    return exception.one_line(text) or 'it cannot be decompressed'


def _fetch(appliance, path, size_bytes):
    parts = []
    for number in range(-(-size_bytes // _PART_BYTES)):
        encoded = ''.join(appliance.shell(
            f'dd if={path} bs={_PART_BYTES} skip={number} count=1 status=none'
            ' | base64 -w 0'))
        try:
            parts.append(base64.b64decode(encoded, validate=True))
        except ValueError:
            break
    content = b''.join(parts)
    if len(content) != size_bytes:
        raise exception.ProgramFailed(
            program='base64', reason=f'its output is not {size_bytes} bytes')
    return content
