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

"""The modules of an image's kernel: which there are, and what each needs.

File formats: modules.dep(5), modules.builtin and modules.softdep as depmod(8)
writes them.
"""

import lzma
import os
import re
import zlib

import zstandard

from nova_flexmem import exception
from nova_flexmem.image import modulefile

MIB = 1 << 20

MAX_MODULE_BYTES = 32 * MIB
_MAX_INDEX_BYTES = 8 * MIB
_MAX_MODULES = 200
_MAX_ALL_MODULES_BYTES = 128 * MIB
_MAX_PATH_BYTES = 4096
#: What a path of a module in a driver pack begins with; no path in an image
#: does.
_IN_PACK = '//'

_ELF = b'\x7fELF'
_NO_MODULE = 'not a kernel module'

_MODULE_PATH = re.compile(r'[\w+,-]+(/[\w+,.-]+)*/[\w+,-]+\.ko'
                          r'(\.(xz|zst|gz))?', re.ASCII)


class Modules:
    """The modules of one kernel, and what each needs.

    :param dep: modules.dep
    :param builtin: modules.builtin
    :param softdep: modules.softdep
    :param alias: modules.alias
    """

    def __init__(self, dep, builtin, softdep, alias):
        self._paths = {}  # name: path
        self._needs = {}  # path: paths
        for line in _lines(dep):
            path, colon, needs = line.partition(':')
            if colon and _is_module_path(path):
                self._paths[name_of(path)] = path
                self._needs[path] = [need for need in needs.split()
                                     if _is_module_path(need)]
        self._builtin = {name_of(path) for path in _lines(builtin)}
        self._aliases: dict[str, list[str]] = {}
        for line in _lines(alias):
            words = line.split()
            if len(words) == 3:
                self._aliases.setdefault(name_of(words[1]), []).append(
                    name_of(words[2]))
        self._soft = {}  # name: names to load before
        for line in _lines(softdep):
            words = line.split()
            if words[:1] == ['softdep'] and 'pre:' in words:
                self._soft[name_of(words[1])] = [
                    name_of(w) for w in modulefile.loaded_before(words)]

    def __contains__(self, name):
        return name in self._builtin or name in self._paths

    def path(self, name):
        """Return the path of a module, None if it is built in or missing."""
        return None if name in self._builtin else self._paths.get(name)

    def add_pack(self, pack):
        """Let the modules of a driver pack stand in for what is missing.

        :param pack: a driverpacks.Pack
        """
        for name, module in pack.modules.items():
            if name not in self:
                path = f'{_IN_PACK}{name}'
                self._paths[name] = path
                self._needs[path] = [*module.needs]

    def closure(self, names):
        """Return the paths to load, each after all that it needs.

        Built-in modules need no loading; names that this kernel does not
        have are passed over.

        :raises: ValueError if that is more than a sane kernel asks for
        """
        order: list[str] = []
        seen: set[str] = set()

        def add(name):
            if name in seen or name in self._builtin:
                return
            seen.add(name)
            if len(seen) > _MAX_MODULES:
                raise ValueError(f'asks for over {_MAX_MODULES} modules')
            path = self._paths.get(name)
            if path is None:
                for alias in self._aliases.get(name, ()):
                    add(alias)
                return
            for soft in self._soft.get(name, ()):
                add(soft)
            for need in self._needs.get(path, ()):
                add(name_of(need))
            order.append(path)

        for name in names:
            add(name)
        return order


def read(tree, folder):
    """Return the Modules of a kernel.

    :param tree: the image's operating_system.Tree
    :param folder: the folder of its modules in the image
    """
    return Modules(*(tree.read(f'{folder}/modules.{kind}', _MAX_INDEX_BYTES)
                     or b'' for kind in ('dep', 'builtin', 'softdep',
                                         'alias')))


def in_pack(path):
    """Return the name of a module whose path is in a driver pack, or None."""
    return path.removeprefix(_IN_PACK) if path.startswith(_IN_PACK) else None


def load(tree, folder, paths, image, from_pack=None):
    """Return the content of modules, (name, content) each.

    :param paths: in the folder of the kernel's modules
    :param from_pack: returns the content of a module of the driver pack
    :param image: the image's path, for messages
    :raises: ImageRefused
    """
    compressed = tree.decompressed(
        [f'{folder}/{path}' for path in paths
         if not in_pack(path) and not path.endswith('.ko')],
        MAX_MODULE_BYTES, _MAX_ALL_MODULES_BYTES)
    modules = []
    left_bytes = _MAX_ALL_MODULES_BYTES
    for path in paths:
        if in_pack(path):
            content = from_pack(in_pack(path))
        elif path.endswith('.ko'):
            content = tree.read(f'{folder}/{path}', MAX_MODULE_BYTES)
            content = 'not there' if content is None else content
        else:
            content = compressed.get(f'{folder}/{path}')
        left_bytes -= len(content or ())
        if content is None or left_bytes < 0:
            raise exception.ImageRefused(
                image=image, reason='the modules in it that a guest needs'
                f' take over {_MAX_ALL_MODULES_BYTES // MIB} MiB')
        if isinstance(content, str) or not content.startswith(_ELF):
            reason = content if isinstance(content, str) else _NO_MODULE
            raise exception.ImageRefused(
                image=image, reason=f'kernel module {path} in it: {reason}')
        modules.append((name_of(path), content))
    return tuple(modules)


def decompress(path, content):
    """Return a vendor's module as the kernel wants it: its ELF file.

    Those of images are decompressed in the appliance.

    :param path: its path, which tells how it is compressed
    :raises: ValueError if it is no module, or a large one
    """
    try:
        if path.endswith('.xz'):
            content = _all(lzma.LZMADecompressor(memlimit=256 * MIB), content)
        elif path.endswith('.zst'):
            if zstandard.frame_content_size(content) > MAX_MODULE_BYTES:
                raise ValueError('too large')
            content = zstandard.ZstdDecompressor(
                max_window_size=64 * MIB).decompress(
                    content, max_output_size=MAX_MODULE_BYTES)
        elif path.endswith('.gz'):
            content = _all(zlib.decompressobj(wbits=31), content)
    except (lzma.LZMAError, zstandard.ZstdError, zlib.error) as e:
        raise ValueError(str(e))
    if not content.startswith(_ELF):
        raise ValueError(_NO_MODULE)
    return content


def _all(decompressor, content):
    content = decompressor.decompress(content, MAX_MODULE_BYTES)
    if not decompressor.eof:
        raise ValueError('cut short or too large')
    return content


def _lines(content):
    return [line for line in content.decode(errors='replace').splitlines()
            if line and not line.startswith('#')]


def _is_module_path(path):
    return (len(path) < _MAX_PATH_BYTES and '..' not in path
            and bool(_MODULE_PATH.fullmatch(path)))


def name_of(path):
    """Return a module's name: without folder and suffix, - as _."""
    return os.path.basename(path).partition('.')[0].replace('-', '_')
