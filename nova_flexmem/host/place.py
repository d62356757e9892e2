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

"""Checks that guests can map bases from where the base store is."""

import os
import stat

from oslo_utils import units

from nova_flexmem import exception
from nova_flexmem import process

#: Types of filesystems (mount(8) -t) whose pages come over a network, or
#: through a program that may end. Types of FUSE begin with "fuse".
_NOT_LOCAL = ('9p', 'afs', 'ceph', 'cifs', 'coda', 'fuse', 'lustre', 'ncpfs',
              'nfs', 'nfs4', 'smb3', 'smbfs', 'virtiofs')

#: Room for a small image: a copy of it, and its base twice.
_BUILD_BYTES = 1024 * units.Mi


def check(store):
    """Check the filesystem, the folders and the free space of a store.

    :param store: a basestore.Store that this user may write to
    :returns: the result, one sentence
    :raises: HostUnfit if guests cannot map bases from there; ProgramFailed
    """
    filesystem = process.run('findmnt', '-n', '-o', 'FSTYPE', '--target',
                             store.path, timeout_s=30).strip()
    if not local(filesystem):
        raise exception.HostUnfit(
            reason=f'{store.path} is on {filesystem}, which is not a local'
            ' filesystem: page faults of instances would depend on it; set'
            ' [flexmem] store_path to a folder on a local filesystem')
    for folder in _folders(os.path.realpath(store.folder('bases'))):
        if not _searchable(folder):
            raise exception.HostUnfit(
                reason=f"{folder}: QEMU's user cannot pass this folder to"
                f' reach the bases; run "chmod o+x {folder}"')
    free = os.statvfs(store.path)
    free_bytes = free.f_bavail * free.f_frsize
    if free_bytes < _BUILD_BYTES:
        raise exception.HostUnfit(
            reason=f'{store.path} has {free_bytes // units.Mi} MiB free, but a'
            f' build needs {_BUILD_BYTES // units.Mi} MiB; free space, for'
            ' example with "nova-flexmem image prune"')
    return (f'{store.path} is on {filesystem}, with'
            f' {free_bytes // units.Mi} MiB free')


def local(filesystem):
    """Return whether a filesystem is on this host's own disks or memory.

    :param filesystem: its type (mount(8) -t)
    """
    return filesystem.partition('.')[0] not in _NOT_LOCAL


def _folders(path):
    """Return a folder and all its parents, the root first."""
    parent = os.path.dirname(path)
    return [path] if parent == path else [*_folders(parent), path]


def _searchable(folder):
    """Return whether QEMU's user may pass a folder, as far as can be seen."""
    if os.stat(folder).st_mode & stat.S_IXOTH:
        return True
    # an access control list may grant it to QEMU's user
    return 'system.posix_acl_access' in os.listxattr(folder)
