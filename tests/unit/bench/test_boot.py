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

import os
import types

import fixtures
import testtools

from nova_flexmem.bench import boot


def _row(kind, count, cache, total):
    return {'kind': kind, 'neighbours': count, 'cache': cache, 'total': total,
            'firmware': 1.0, 'kernel': 2.0, 'initramfs': 3.0,
            'userspace': total - 6, 'cached_mib': 7.0}


class _Guest:
    """One that notes with which others it boots."""

    def __init__(self, name, running, boots):
        self._name = name
        self._running = running
        self._boots = boots

    def __enter__(self):
        self._boots.append((self._name, sorted(self._running)))
        self._running.add(self._name)
        return self

    def __exit__(self, *_exc):
        self._running.discard(self._name)

    def suspend(self):
        self._running.remove(self._name)

    def resume(self):
        self._running.add(self._name)

    def wait_shell(self):
        pass

    def wait_multi_user(self):
        return 20.0

    def output(self, _script):
        return ('UserspaceTimestampMonotonic=5000000\n'
                'ActiveEnterTimestampMonotonic=15000000\n'
                '[    2.000000] Run /init as init process\n')


class BootTest(testtools.TestCase):

    def test_kinds_take_turns_beside_neighbours_of_their_own(self):
        running: set[str] = set()
        boots: list[tuple] = []
        path = os.path.join(self.useFixture(fixtures.TempDir()).path, 'file')
        with open(path, 'wb') as f:
            f.write(bytes(4096))
        ready = types.SimpleNamespace(
            raw=path, image=types.SimpleNamespace(
                boot=types.SimpleNamespace(files=(path,))),
            guest=lambda _kind, name: _Guest(name, running, boots))
        rows = boot.Boot(ready, None, boot.Options((2, 1), 2),
                         lambda _text: None).run()
        self.assertEqual(
            [(kind, count, cache) for count in (1, 2)
             for cache in ('cold', 'warm') for _number in (1, 2)
             for kind in ('stock', 'flexmem')],
            [(row['kind'], row['neighbours'], row['cache']) for row in rows])
        starts = [(name, beside) for name, beside in boots
                  if 'neighbour' not in name]
        self.assertEqual(
            [(f'{row["kind"]}-neighbour-{number}',) for row in rows
             for number in range(1, row['neighbours'] + 1)],
            [(each,) for _name, beside in starts for each in beside])
        self.assertEqual(set(), running)

    def test_figures(self):
        found = boot.figures([
            _row('stock', 1, 'warm', 20.0), _row('stock', 1, 'cold', 21.0),
            _row('stock', 1, 'cold', 23.0), _row('flexmem', 1, 'cold', 13.0),
            _row('flexmem', 10, 'cold', 15.0),
            _row('flexmem', 1, 'warm', 12.0)])
        self.assertEqual(
            [('cold', '1'), ('warm', '1'), ('cold', '10')],
            list(dict.fromkeys(
                (figure.name.split(', ')[1].split()[0],
                 figure.name.split(', ')[2].split()[0])
                for figure in found)))
        by_name = {figure.name: figure for figure in found}
        self.assertEqual(18, len(by_name))
        self.assertEqual(
            {'stock': [21.0, 23.0], 'flexmem': [13.0]},
            by_name['power-on to multi-user, cold cache, 1 neighbours']
            .samples)
        self.assertEqual(
            {'stock': [14.0], 'flexmem': [6.0]},
            by_name['userspace, warm cache, 1 neighbours'].samples)
        self.assertEqual(
            {'flexmem': [1.0]}, by_name['firmware and boot loader, cold cache,'
                                        ' 10 neighbours'].samples)
        self.assertEqual(
            {'of the image in host cache before'},
            {figure.name.split(',')[0] for figure in found
             if not figure.compared})
