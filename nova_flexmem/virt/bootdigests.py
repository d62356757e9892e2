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

"""The kernel and the initramfs that a guest was started with, by digest.

A base may have several pairs of them: its own, and those that were made anew.
"""

import hashlib
import os

from nova_flexmem.store import basefiles

NAMES = (basefiles.KERNEL, basefiles.INITRAMFS)


def of(base, boot):
    """Return {name: SHA-256} of what a guest boots from beside root.pmem.

    :param base: the basefiles.Base
    :param boot: the domain.Boot
    """
    return of_folder(base, os.path.dirname(boot.kernel))


def of_folder(base, folder):
    """Return {name: SHA-256} of a folder with kernel and initramfs.

    :param folder: the base's own, or one with boot files of it
    """
    if folder == base.path:
        return {name: base.manifest.files[name].sha256 for name in NAMES}
    return {name: basefiles.File.of(os.path.join(folder, name)).sha256
            for name in NAMES}


def match(base, folder, record):
    """Return whether a folder has what the guest of a Record booted from."""
    try:
        found = of_folder(base, folder)
    except OSError:
        return False
    return found == _recorded(record)


def find(store, base, record):
    """Return the folder with what the guest of a Record booted from, or None.

    :param store: the basestore.Store
    """
    boot = store.folder('boot')
    folders = [base.path] + [os.path.join(boot, name)
                             for name in sorted(os.listdir(boot))
                             if name.partition('.')[0] == base.key]
    return next((folder for folder in folders
                 if match(base, folder, record)), None)


def folder_of(store, base, record):
    """Return the folder for boot files that come from another host."""
    recorded = _recorded(record)
    name = hashlib.sha256(' '.join(
        str(recorded[name]) for name in NAMES).encode()).hexdigest()[:16]
    return os.path.join(store.folder('boot'), f'{base.key}.{name}')


def _recorded(record):
    return {basefiles.KERNEL: record.kernel_sha256,
            basefiles.INITRAMFS: record.initramfs_sha256}
