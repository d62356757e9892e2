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

"""Boot files: the kernel and the initramfs that guests of a base boot.

They are no part of a layout. A base has those that it was built with; once
this package has another /init or other hand-over code, they are made anew for
the base, from its own kernel and modules. So a mended /init reaches instances
at their next start, without their image and without the appliance. A folder
STORE/boot/KEY.ID holds both files, made together, and the state in which they
were written: they are written again after each boot of the host, as the base
is read again then, and whenever they were touched.
"""

import hashlib
import json
import os

from nova_flexmem.build import handover
from nova_flexmem.build import initramfs
from nova_flexmem import exception
from nova_flexmem import files
from nova_flexmem import hostboot
from nova_flexmem.store import basefiles
from nova_flexmem.store import locks

_NAMES = (basefiles.KERNEL, basefiles.INITRAMFS)
_STATE = 'state.json'


def boot_id():
    """Return what names this version's /init and hand-over code."""
    versions = f'{handover.version()} {initramfs.version()}'
    return hashlib.sha256(versions.encode()).hexdigest()[:16]


def folder(store, base):
    """Return the folder whose kernel and initramfs guests of a base boot.

    :param base: a Base that ensure() returned
    """
    wanted = boot_id()
    if base.manifest.boot_id == wanted:
        return base.path
    return os.path.join(store.folder('boot'), f'{base.key}.{wanted}')


def are_ready(store, key):
    """Return whether ensure() would return at once.

    :raises: BaseNotFound, BaseDamaged, StoreUnusable
    """
    return store.is_verified(key) and _are_made(store, store.require(key))


def ensure(store, key):
    """Return a base that a guest may start from, its boot files made.

    :raises: BaseNotFound, BaseDamaged, StoreUnusable, ProgramFailed
    """
    base = store.ensure_verified(key)
    if not _are_made(store, base):
        with store.lock(locks.BUILD, key), store.build_folder(key) as made:
            if not _are_made(store, base):  # another worker may have
                path = folder(store, base)
                with store.reporting():
                    _make(base, made)
                    publish(made, path)
                    _note(base, path)
    return base


def _are_made(store, base):
    path = folder(store, base)
    if path == base.path:
        return True
    try:
        with open(os.path.join(path, _STATE), encoding='ascii') as f:
            return json.load(f) == _state(base, path)
    except (OSError, ValueError):
        return False  # never made, or the record is torn


def _make(base, path):
    contents = []
    for name in _NAMES:
        with open(base.file(name), 'rb') as f:
            contents.append(f.read())
    try:
        image, archive = handover.unpack(*contents)
        modules = initramfs.read_modules(archive)
    except ValueError as e:
        raise exception.BaseDamaged(path=base.file(basefiles.INITRAMFS),
                                    key=base.key, reason=str(e))
    handover.write(path, image, initramfs.pack(modules))


def publish(made, path):
    """Have boot files in a folder of the store, at once.

    :param made: the folder that they are in
    :param path: the folder that they are to be in; it is replaced
    """
    os.chmod(made, 0o755)
    for name in _NAMES:
        os.chmod(os.path.join(made, name), 0o444)
        files.sync(os.path.join(made, name))
    files.discard(path)  # guests map what they have of it until they end
    os.rename(made, path)
    files.sync(os.path.dirname(path))


def _note(base, path):
    with open(os.path.join(path, _STATE), 'w', encoding='ascii') as f:
        json.dump(_state(base, path), f)


def _state(base, path):
    """Return what changes when the boot files or their source may have."""
    own = base.states()
    made = [os.stat(os.path.join(path, name)) for name in _NAMES]
    return [hostboot.boot_id(), [own[name] for name in _NAMES],
            [[status.st_ino, status.st_size, status.st_mtime_ns,
              status.st_ctime_ns] for status in made]]
