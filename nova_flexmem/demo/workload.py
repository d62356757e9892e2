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

"""What each demo guest does: read the same files of its image.

The files are programs and libraries under /usr, in the order of their paths,
the same in every guest of one image. Compiled Python is left out, since a
guest may write some itself.
"""

import dataclasses
import re
import time

from nova_flexmem import exception

#: Folder by folder until there is enough, so that not all of /usr is walked:
#: the content of folders stays in the page cache of either kind of guest.
_CHOOSE = '''\
export LC_ALL=C
cd /usr
list=$TMPDIR/files-to-read
: > "$list.all"
for folder in bin sbin lib64 lib/*-linux-gnu libexec lib share; do
    if ! [ -d "$folder" ] || [ -L "$folder" ]; then continue; fi
    depth=1
    case $folder in lib|share) depth=99 ;; esac
    find "$folder" -maxdepth $depth -type f ! -path '*/__pycache__/*' \
        -printf '%s %p\\n' | sort -k 2 >> "$list.all"
    awk -v limit=LIMIT '
        !seen[$0]++ && total < limit { total += $1; print }
        END { exit total < limit }' "$list.all" > "$list" && break
done
true
'''

_READ = '''\
cd /usr
list=$TMPDIR/files-to-read
awk '{ total += $1 } END { printf "%d %d\\n", NR, total }' "$list"
cut -d ' ' -f 2- "$list" | tr '\\n' '\\0' | xargs -0 cat | cat "$list" - |
    sha256sum
'''

_ANSWER = re.compile(r'^(\d+) (\d+)\n([0-9a-f]{64})  -\n', re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a guest has read."""

    files: int
    size_bytes: int
    digest: str  #: of sizes, paths and content
    seconds: float


def choose_files(guest, size_bytes):
    """Have a guest choose what it will read: that many bytes or a bit more."""
    guest.output(_CHOOSE.replace('LIMIT', str(size_bytes)))


def read_files(guest):
    """Have a guest read the files that it chose; returns the Reading.

    :raises: DemoFailed if it can't read them
    """
    began = time.monotonic()
    output = guest.output(_READ)
    seconds = time.monotonic() - began
    reading = parse(output, seconds)
    if reading is None:
        raise exception.DemoFailed(reason=f'reading in a guest: {output}')
    return reading


def script(size_bytes):
    """Return a shell script that chooses and reads files, for user data.

    What it prints is for parse().
    """
    return ('export TMPDIR=$(mktemp -d)\n'
            + _CHOOSE.replace('LIMIT', str(size_bytes)) + _READ)


def parse(output, seconds):
    """Return the Reading that is in what a guest printed, or None."""
    answer = _ANSWER.search(output.replace('\r', ''))
    return answer and Reading(int(answer[1]), int(answer[2]), answer[3],
                              seconds)


@dataclasses.dataclass(frozen=True)
class PageCache:
    """What a guest's page cache holds.

    :ivar files_bytes: content of files on filesystems: Cached without Shmem,
        which is tmpfs and shared memory, and nobody's cache
    :ivar metadata_bytes: of block devices, where filesystems keep inodes and
        folders: Buffers
    """

    files_bytes: int
    metadata_bytes: int


def page_cache(meminfo):
    """Return the PageCache of a guest.

    :param meminfo: the guest's /proc/meminfo as Guest.meminfo has it
    """
    return PageCache(meminfo['Cached'] - meminfo['Shmem'], meminfo['Buffers'])
