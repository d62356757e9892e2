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

"""Imports driver packs: takes from packages the modules that guests need."""

import hashlib
import os
import re

from nova_flexmem.build import packages
from nova_flexmem import exception
from nova_flexmem.image import kernel
from nova_flexmem.image import modulefile
from nova_flexmem.image import modules as modules_module
from nova_flexmem.store import driverpacks

_IN_PACKAGE = re.compile(r'(?:\.?/)?(?:usr/)?lib/modules/([^/]+)/'
                         r'(?:[\w+,.-]+/)*([\w+,-]+)\.ko(?:\.(?:xz|zst|gz))?',
                         re.ASCII)
_FILE = re.compile(r'([\w+,-]+)\.ko(?:\.(?:xz|zst|gz))?', re.ASCII)

_MAX_FILES = 100_000
_MAX_ALL_BYTES = 128 << 20

#: Needs of needs are looked for in a package again.
_MAX_PASSES = 6


def import_pack(packs, source):
    """Import one package or folder.

    :param packs: the store's DriverPacks
    :param source: path of a .deb, an .rpm, or a folder with modules
    :returns: the Pack
    :raises: DriversRefused; OSError
    """
    try:
        if os.path.isdir(source):
            name, build, digest = '', '', ''
            contents = _needed(lambda: _in_folder(source))
        else:
            package = packages.open_package(source)
            name, build = package.name, package.version
            with open(source, 'rb') as f:
                digest = hashlib.file_digest(f, 'sha256').hexdigest()
            contents = _needed(lambda: _in_package(package))
        facts = {module: modulefile.read(content)
                 for module, content in contents.items()}
        releases = {fact.release for fact in facts.values()}
        if not contents:
            raise ValueError('no module in it that FlexMem guests need')
        if len(releases) > 1:
            raise ValueError('modules of several kernels in it:'
                             f' {", ".join(sorted(releases)[:5])}')
        release, = releases
        modules = {module: driverpacks.Module(
            hashlib.sha256(content).hexdigest(), [*facts[module].needs])
            for module, content in contents.items()}
        if not build:
            digest = hashlib.sha256(repr(sorted(
                (module, facts.sha256) for module, facts in modules.items())
            ).encode()).hexdigest()
            build = f'folder-{digest[:12]}'
        pack = driverpacks.Pack(
            driverpacks.checked(release), driverpacks.checked(build), name,
            {os.path.basename(os.path.abspath(source)): digest}, modules)
    except ValueError as e:
        raise exception.DriversRefused(source=source, reason=str(e))
    return packs.add(pack, contents)


def _needed(files):
    """Return {name: content} of modules that guests need, decompressed.

    :param files: returns an iterator of (name, path, size, read)
    :raises: ValueError
    """
    wanted = {*kernel.WANTED}
    contents: dict[str, bytes] = {}
    for _number in range(_MAX_PASSES):
        missing = wanted - contents.keys()
        for name, path, read in files():
            if name in missing and name not in contents:
                contents[name] = modules_module.decompress(
                    path, read(modules_module.MAX_MODULE_BYTES))
                if sum(map(len, contents.values())) > _MAX_ALL_BYTES:
                    raise ValueError('the modules that guests need take over'
                                     f' {_MAX_ALL_BYTES >> 20} MiB')
        more = {need for content in contents.values()
                for need in modulefile.read(content).needs}
        if more <= wanted:
            return contents
        wanted |= more
    raise ValueError('modules in it need each other without an end')


def _in_package(package):
    for path, _size, read in package.members():
        match = _IN_PACKAGE.fullmatch(path)
        if match and '..' not in path:
            yield match[2].replace('-', '_'), path, read


def _in_folder(folder):
    count = 0
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            count += 1
            if count > _MAX_FILES:
                raise ValueError(f'it has over {_MAX_FILES} files')
            match = _FILE.fullmatch(name)
            path = os.path.join(parent, name)
            if match and os.path.isfile(path) and not os.path.islink(path):
                yield match[1].replace('-', '_'), path, _reader(path)


def _reader(path):
    def read(max_bytes):
        if os.path.getsize(path) > max_bytes:
            raise ValueError(f'a file of {os.path.getsize(path)} bytes in it')
        with open(path, 'rb') as f:
            return f.read(max_bytes)

    return read
