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

"""Driver packs: modules that a vendor ships apart from the image's kernel.

Ubuntu's cloud images lack nd_pmem, which is in linux-modules-extra-RELEASE of
the same build. A pack holds the modules of one build of one kernel, in
STORE/drivers/RELEASE/BUILD/: NAME.ko each, and pack.json, which describes
them. The host never loads them: they become part of a base's initramfs.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import uuid

from nova_flexmem import exception
from nova_flexmem import files

_FACTS = 'pack.json'
_NAME = re.compile(r'\w[\w.+~^-]{0,100}', re.ASCII)
_MODULE = re.compile(r'\w{1,60}', re.ASCII)

#: What reading a pack that is damaged ends in.
_UNUSABLE = (OSError, ValueError, KeyError, TypeError, AttributeError)


@dataclasses.dataclass(frozen=True)
class Module:
    """A module of a pack.

    :ivar sha256: of its file, which is not compressed
    :ivar needs: names of the modules that must be loaded before
    """

    sha256: str
    needs: list[str]


@dataclasses.dataclass(frozen=True)
class Pack:
    """A driver pack.

    :ivar release: of the kernel, as uname -r says
    :ivar build: the version of the package, or what stands for a folder
    :ivar package: name of the package, '' for a folder
    :ivar sources: {name of a file that was imported: its SHA-256}
    :ivar modules: {name: Module}
    """

    release: str
    build: str
    package: str
    sources: dict[str, str]
    modules: dict[str, Module]

    @property
    def name(self):
        """What names it: RELEASE/BUILD."""
        return f'{self.release}/{self.build}'


def checked(text):
    """Return a release or a version as it can be the name of a folder.

    The colon behind an epoch is replaced.

    :raises: ValueError
    """
    name = text.replace(':', '^')
    if not _NAME.fullmatch(name):
        raise ValueError(f'{text!r} is no release or version')
    return name


class DriverPacks:
    """The driver packs of a store.

    :param folder: the store's folder of driver packs
    """

    def __init__(self, folder):
        self._folder = folder

    def all(self):
        """Return the Packs that can be used, sorted by release and build."""
        return [pack for release in self._names()
                for pack in self.of_release(release)]

    def of_release(self, release):
        """Return the Packs for a kernel's release, sorted by build."""
        packs = []
        for build in self._names(release) if _NAME.fullmatch(release) else ():
            with contextlib.suppress(*_UNUSABLE):
                packs.append(self._read(release, build))
        return packs

    def add(self, pack, contents):
        """Keep a pack, with the modules of an earlier one of that build.

        :param contents: {name: content} of its modules
        :returns: the Pack as it is kept
        :raises: ValueError for names that are no names of files; OSError
        """
        for name in (pack.release, pack.build):
            checked(name)
        if not all(map(_MODULE.fullmatch, contents)):
            raise ValueError('a module with an odd name')
        for old in self.of_release(pack.release):
            if old.build == pack.build:
                kept = {name: self.content(old, name) for name in old.modules
                        if name not in contents}
                contents = kept | contents
                pack = dataclasses.replace(
                    pack, sources=old.sources | pack.sources,
                    modules=old.modules | pack.modules)
        made = os.path.join(self._folder, f'.{uuid.uuid4().hex}')
        os.mkdir(made)
        try:
            for name, content in contents.items():
                _write(os.path.join(made, f'{name}.ko'), content)
            _write(os.path.join(made, _FACTS), json.dumps(
                dataclasses.asdict(pack), indent=2, sort_keys=True).encode())
            os.chmod(made, 0o755)
            files.sync(made)
            path = self._path(pack.release, pack.build)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self._take_away(path)
            os.rename(made, path)
            files.sync(os.path.dirname(path))
        finally:
            files.discard(made)
        return pack

    def remove(self, pack):
        """Remove a Pack. Bases that were built with it stay of use."""
        self._take_away(self._path(pack.release, pack.build))
        with contextlib.suppress(OSError):  # there is another build in it
            os.rmdir(os.path.join(self._folder, pack.release))

    def content(self, pack, name):
        """Return the content of a module.

        :raises: DriversRefused if it has changed since it was imported
        """
        path = os.path.join(self._path(pack.release, pack.build), f'{name}.ko')
        try:
            with open(path, 'rb') as f:
                content = f.read()
        except OSError as e:
            raise exception.DriversRefused(source=path, reason=e.strerror)
        if hashlib.sha256(content).hexdigest() != pack.modules[name].sha256:
            raise exception.DriversRefused(
                source=path, reason='its content has changed; import the'
                ' package again')
        return content

    def _read(self, release, build):
        path = os.path.join(self._path(release, build), _FACTS)
        with open(path, encoding='utf-8') as f:
            fields = json.load(f)
        modules = {name: Module(**facts)
                   for name, facts in fields['modules'].items()}
        if (fields['release'], fields['build']) != (release, build) or not all(
                _MODULE.fullmatch(name) for name in modules):
            raise ValueError(path)
        return Pack(**fields | {'modules': modules})

    def _names(self, release=''):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return sorted(filter(_NAME.fullmatch, os.listdir(
                os.path.join(self._folder, release))))
        return []

    def _path(self, release, build):
        return os.path.join(self._folder, release, build)

    def _take_away(self, path):
        leaving = os.path.join(self._folder, f'.{uuid.uuid4().hex}')
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, leaving)
        files.discard(leaving)


def _write(path, content):
    with open(path, 'xb') as f:
        f.write(content)
    os.chmod(path, 0o444)
    files.sync(path)
