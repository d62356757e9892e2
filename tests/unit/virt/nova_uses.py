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

"""Finds in this package's source what it uses of Nova's.

Names of Nova's modules are followed from their imports. What a variable or an
attribute holds is known by its name, in _HOLDS: this package calls the same
thing by the same name everywhere.
"""

import ast
import pathlib

import nova_flexmem

#: What variables and attributes of these names hold, in all modules.
_HOLDS = {
    'virtapi': 'nova.compute.manager.ComputeVirtAPI',
    '_compute': 'nova.compute.manager.ComputeManager',
    'manager': 'nova.compute.manager.ComputeManager',
    'reportclient': 'nova.scheduler.client.report.SchedulerReportClient',
    '_reportclient': 'nova.scheduler.client.report.SchedulerReportClient',
    'backend': 'nova.virt.libvirt.imagebackend.Flat',
    'rbd_backend': 'nova.virt.libvirt.imagebackend.Rbd',
    '_rbd_backend': 'nova.virt.libvirt.imagebackend.Rbd',
    'rbd_driver': 'nova.storage.rbd_utils.RBDDriver',
    '_rbd_driver': 'nova.storage.rbd_utils.RBDDriver',
    'image_backend': 'nova.virt.libvirt.imagebackend.Backend',
    'image_api': 'nova.image.glance.API',
    '_image_api': 'nova.image.glance.API',
    'provider_tree': 'nova.compute.provider_tree.ProviderTree',
    '_host': 'nova.virt.libvirt.host.Host',
    'migration': 'nova.objects.Migration',
    'instance': 'nova.objects.Instance',
    'image_meta': 'nova.objects.ImageMeta',
    'flavor': 'nova.objects.Flavor'}

#: In the driver, self is Nova's too.
_DRIVER = 'nova.virt.libvirt.driver.LibvirtDriver'
_CONF = 'nova.conf.CONF'
_LIBVIRT = 'nova.virt.libvirt.driver.libvirt'

#: Groups of options that are ours.
_OWN_GROUPS = ('flexmem', 'nova_flexmem_privileged')


def find():
    """Return what is used, {name: [(positional arguments, keywords)]}.

    Names are dotted, from the module on. What is not called has no entry in
    its list.
    """
    found = {}
    package = pathlib.Path(nova_flexmem.__file__).parent
    for room in ('virt', 'scheduler'):
        for path in sorted((package / room).glob('*.py')):
            _Finder(found, path.name == 'driver.py').visit(
                ast.parse(path.read_text()))
    return found


class _Finder(ast.NodeVisitor):

    def __init__(self, found, is_driver):
        self._found = found
        self._is_driver = is_driver
        self._names = {'CONF': _CONF}
        self._own = set()

    def visit_Import(self, node):
        for alias in node.names:
            if alias.name.split('.')[0] == 'nova':
                self._names['nova'] = 'nova'

    def visit_ImportFrom(self, node):
        if node.module.split('.')[0] == 'nova':
            for alias in node.names:
                self._names[alias.asname or alias.name] = (
                    f'{node.module}.{alias.name}')

    def visit_ClassDef(self, node):
        if self._is_driver:
            self._own = {item.name for item in node.body
                         if isinstance(item, ast.FunctionDef)}
            self._own |= {
                item.attr for item in ast.walk(node)
                if isinstance(item, ast.Attribute) and
                isinstance(item.ctx, ast.Store) and
                isinstance(item.value, ast.Name) and item.value.id == 'self'}
        self.generic_visit(node)

    def visit_Call(self, node):
        name = self._name_of(node.func)
        if name:
            variable = (any(isinstance(arg, ast.Starred)
                            for arg in node.args) or
                        any(word.arg is None for word in node.keywords))
            self._note(name, None if variable else (
                len(node.args), tuple(sorted(word.arg
                                             for word in node.keywords))))
            self._descend(node.func)
            for child in (*node.args, *node.keywords):
                self.visit(child)
        else:
            self.generic_visit(node)

    def visit_Attribute(self, node):
        name = self._name_of(node)
        if name:
            self._note(name, None)
            self._descend(node)
        else:
            self.generic_visit(node)

    def _descend(self, node):
        """Look at what an attribute is taken of, but not at the parts."""
        if isinstance(node, ast.Attribute) and self._is_held(node):
            self.visit(node.value)

    def _is_held(self, node):
        return not self._module_path(node)

    def _note(self, name, call):
        calls = self._found.setdefault(name, [])
        if call is not None:
            calls.append(call)

    def _name_of(self, node):
        """Return the dotted name of what a node is of Nova's, or None."""
        if not isinstance(node, ast.Attribute):
            return None
        path = self._module_path(node)
        if path:
            if path.startswith(f'{_LIBVIRT}.'):
                return _LIBVIRT  # libvirt's own, which Nova imports late
            if path.startswith(f'{_CONF}.'):
                parts = path[len(_CONF) + 1:].split('.')
                if parts[0] in _OWN_GROUPS or len(parts) > 2:
                    return None
            return path
        value = node.value
        if (self._is_driver and isinstance(value, ast.Name) and
                value.id == 'self' and node.attr not in self._own):
            return f'{_DRIVER}.{node.attr}'
        if self._is_driver and self._is_super(value):
            return f'{_DRIVER}.{node.attr}'
        held = getattr(value, 'id', getattr(value, 'attr', None))
        if held in _HOLDS and isinstance(value, (ast.Name, ast.Attribute)):
            return f'{_HOLDS[held]}.{node.attr}'
        return None

    @staticmethod
    def _is_super(node):
        return (isinstance(node, ast.Call) and
                isinstance(node.func, ast.Name) and node.func.id == 'super')

    def _module_path(self, node):
        """Return the dotted name of an attribute of an import, or None."""
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name) and node.id in self._names:
            return '.'.join([self._names[node.id], *reversed(parts)])
        return None
