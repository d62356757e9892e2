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

"""Deltas with torn metadata: a block of which only a part was written.

A guest writes files, twice, and is cut off. Then a block of metadata that the
second time changed gets a half of what it was before, each time another block,
and the guest starts again, reads all and writes. It must come up, and either
be able to write, with a delta that e2fsck finds nothing wrong with afterwards,
or be read-only and say on its console why.
"""

import pathlib
import re
import subprocess

from tests.drills import harness
from tests.functional import tiny_guest

_BLOCK = 4096
_DELTAS = 20

#: More than one group of blocks, so that there is a second superblock.
_DELTA_BYTES = 192 * harness.MIB

_WRITE = """
mkdir -p /srv/many /srv/few/{name}
for n in $(seq 200); do
    echo "content of $n" > /srv/many/a-long-name-{name}-$n
    mkdir -p /srv/few/{name}/$((n % 9))
    echo "content of $n" > /srv/few/{name}/$((n % 9))/$n
done
rm -f /srv/many/a-long-name-*7
for n in 1 2 3 4; do head -c 300000 /dev/urandom > /srv/few/{name}/_$n; done
sync
"""

_USE = """
find /srv -type f -exec cat {} + 2>&1 > /dev/null | head -n 3
if mkdir -p /srv/new && head -c 8000000 /dev/urandom > /srv/new/file &&
        echo new > /srv/many/new && sync && [ -s /srv/new/file ] &&
        echo 3 > /proc/sys/vm/drop_caches && [ -s /srv/many/new ] &&
        : > /srv/new/last; then
    echo writable
else
    echo read-only
fi
"""

_SAID_WHY = re.compile(r'flexmem: .* the root filesystem is read-only'
                       r'|EXT4-fs.*Remounting filesystem read-only')


class TornDeltaTest(harness.DrillTestCase):

    def setUp(self):
        super().setUp()
        folder = pathlib.Path(self.folder)
        tree = tiny_guest.make_tree(folder / 'tree')
        tiny_guest.install(tree, '/sbin/e2fsck')
        self.base = tiny_guest.Base(folder / 'base', tree)
        self.kernel = tiny_guest.Kernel(tiny_guest.SYSTEMS[0])
        self.guest = tiny_guest.Guest(folder / 'guest', _DELTA_BYTES)
        self.delta = pathlib.Path(self.guest.delta)

    def boot(self, script):
        """Run a script in a guest; returns what it printed."""
        return self.guest.boot(self.base, self.kernel, script)

    def console(self):
        """Return what was on the console of the last guest."""
        return self.guest.console

    def test_torn_delta(self):
        contents = []
        for name in ('first', 'second'):
            self.boot(_WRITE.format(name=name))
            contents.append(self.delta.read_bytes())
        chosen = self._choose(_metadata(self.delta, *contents))
        came: dict[str, int] = {}
        wrong = []
        for kind, number in chosen:
            outcome = self._start_torn(number, *contents)
            word = outcome.partition(':')[0]
            came[word] = came.get(word, 0) + 1
            if word not in ('repaired', 'read-only'):
                wrong.append((kind, number, outcome))
            print(kind, number, word, flush=True)
        self.figures(deltas=len(chosen), seed=harness.SEED, **came,
                     wrong=len(wrong))
        self.assertEqual([], wrong)

    def _choose(self, found):
        """Return (kind, block) of some blocks, of each kind about as many."""
        kinds: dict[str, list[int]] = {}
        for kind, number in found:
            kinds.setdefault(kind, []).append(number)
        for numbers in kinds.values():
            self.random.shuffle(numbers)
        self.assertLessEqual({'superblock', 'bitmap', 'inodes', 'folder',
                              'journal'}, set(kinds))
        chosen = []
        while len(chosen) < _DELTAS:
            for kind, numbers in kinds.items():
                if numbers:
                    chosen.append((kind, numbers.pop()))
        return chosen[:_DELTAS]

    def _start_torn(self, number, before, after):
        """Return what came of a guest with a torn delta."""
        begin, end = number * _BLOCK, (number + 1) * _BLOCK
        middle = begin + _BLOCK // 2
        halves = [before[begin:middle] + after[middle:end],
                  after[begin:middle] + before[middle:end]]
        self.random.shuffle(halves)
        torn = next(half for half in halves if half != after[begin:end])
        self.delta.write_bytes(after[:begin] + torn + after[end:])
        try:
            seen = self.boot(_USE)
        except AssertionError as e:
            return f'not up: {str(e)[-2000:]}'
        if seen.splitlines()[-1] == 'read-only':
            return 'read-only' if _SAID_WHY.search(self.console()) else (
                f'no reason: {seen}{self.console()[-2000:]}')
        # the journal first, as the guest was cut off
        subprocess.run(['e2fsck', '-p', self.delta],
                       stdout=subprocess.DEVNULL, check=False)
        checked = subprocess.run(['e2fsck', '-fn', self.delta], check=False,
                                 stdout=subprocess.PIPE, text=True)
        return 'repaired' if checked.returncode == 0 else (
            f'errors left: {seen}{checked.stdout[-2000:]}')


def _metadata(path, before, after):
    """Return (kind, number) of each block of metadata that has changed."""
    changed = [number for number in range(len(after) // _BLOCK)
               if before[number * _BLOCK:(number + 1) * _BLOCK]
               != after[number * _BLOCK:(number + 1) * _BLOCK]]
    fixed = _fixed(path)
    found = [(fixed[number], number) for number in changed if number in fixed]
    owners = _debugfs(path, 'icheck ' + ' '.join(
        str(number) for number in changed if number not in fixed))
    kinds = {'8': 'journal'}
    for number, inode in re.findall(r'^(\d+)\t(\d+)$', owners, re.MULTILINE):
        if inode not in kinds:
            folder = 'Type: directory' in _debugfs(path, f'stat <{inode}>')
            kinds[inode] = 'folder' if folder else 'content'
        if kinds[inode] != 'content':
            found.append((kinds[inode], int(number)))
    return found


def _fixed(path):
    """Return {number: kind} of blocks that belong to no inode."""
    printed = subprocess.run(['dumpe2fs', path], check=True, text=True,
                             stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL).stdout
    kinds = {0: 'superblock', 1: 'groups'}
    for number in re.findall(r'bitmap at (\d+)', printed):
        kinds[int(number)] = 'bitmap'
    for first, last in re.findall(r'Inode table at (\d+)-(\d+)', printed):
        kinds |= dict.fromkeys(range(int(first), int(last) + 1), 'inodes')
    return kinds


def _debugfs(path, request):
    return subprocess.run(['debugfs', '-R', request, path], check=True,
                          text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout
