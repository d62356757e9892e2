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

import ast
import graphlib
import os

import testtools

import nova_flexmem

#: The rooms, the lowest first. A room may import those below it.
ROOMS = (
    ('exception', 'files', 'hostboot', 'sandbox', 'process',
     'libvirt_connection', 'emulator', 'accel', 'conf', 'glanceconf',
     'schedulerconf'),
    ('store',), ('publish',), ('guest',), ('image',), ('build',),
    ('flatten',), ('host',),
    ('virt', 'demo'), ('scheduler',), ('bench',), ('cmd', 'tempest_plugin'))

_FOLDER = os.path.dirname(nova_flexmem.__file__)


def _imports():
    """Yield (module, the module of ours that it imports), without our name."""
    for folder, _folders, names in os.walk(_FOLDER):
        for name in sorted(names):
            path = os.path.join(folder, name)
            module = os.path.relpath(path, _FOLDER).removesuffix('.py')
            if not name.endswith('.py') or module == '__init__':
                continue
            with open(path, encoding='utf-8') as f:
                tree = ast.parse(f.read())
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and (
                        node.module or '').startswith('nova_flexmem'):
                    for alias in node.names:
                        yield (module.replace('/', '.'),
                               f'{node.module}.{alias.name}'.partition('.')[2])


class LayersTest(testtools.TestCase):

    def test_imports_go_down(self):
        height = {room: layer for layer, rooms in enumerate(ROOMS)
                  for room in rooms}
        up = [f'{importer} imports {imported}'
              for importer, imported in _imports()
              if height[importer.partition('.')[0]]
              < height[imported.partition('.')[0]]]
        self.assertEqual([], up)

    def test_no_circles(self):
        graph: dict[str, set[str]] = {}
        for importer, imported in _imports():
            importer = importer.removesuffix('.__init__')
            graph.setdefault(importer, set()).add(imported)
        graphlib.TopologicalSorter(graph).prepare()

    def test_nova_is_imported_by_its_plugins_alone(self):
        importers = set()
        for folder, _folders, names in os.walk(_FOLDER):
            for name in filter(lambda name: name.endswith('.py'), names):
                path = os.path.join(folder, name)
                with open(path, encoding='utf-8') as f:
                    tree = ast.parse(f.read())
                for node in ast.walk(tree):
                    modules = [getattr(node, 'module', None)] if isinstance(
                        node, ast.ImportFrom) else [
                            alias.name for alias in node.names] if isinstance(
                                node, ast.Import) else []
                    if any((module or '').split('.')[0] == 'nova'
                           for module in modules):
                        importers.add(os.path.relpath(path, _FOLDER)
                                      .partition('/')[0])
        # the benchmark of placement simulates a cloud with Nova's scheduler
        self.assertEqual({'bench', 'scheduler', 'virt'}, importers)
