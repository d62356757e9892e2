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

"""The disks of a flattening: overlays to write to, and the file that results.

The image and the delta are only read. What the appliance writes goes to
overlays of them.
"""

import json
import os

from oslo_utils import units

from nova_flexmem import exception
from nova_flexmem import files
from nova_flexmem.image import sparse
from nova_flexmem import process

_TIMEOUT_S = 60


def states(disks):
    """Return what changes if one of the disks changes.

    :param disks: source.Sources
    """
    return [(status.st_dev, status.st_ino, status.st_size,
             status.st_mtime_ns, status.st_ctime_ns)
            for status in (os.stat(disk.path) for disk in disks)]


def overlay(path, below, size_bytes):
    """Make a qcow2 overlay of a disk.

    :param path: of the file to make
    :param below: the source.Source under it
    :returns: path
    """
    process.run('qemu-img', 'create', '-q', '-f', 'qcow2', '-F', below.format,
                '-b', below.path, path, str(size_bytes), timeout_s=_TIMEOUT_S)
    return path


def copy_bytes(disk, disk_format):
    """Return the bytes that a copy of an overlay takes in another format."""
    return json.loads(process.run(
        'qemu-img', 'measure', '--output=json', '-f', 'qcow2', '-O',
        disk_format, disk, timeout_s=_TIMEOUT_S))['required']


def check_room(folder, needed_bytes, image, delta):
    """Refuse to begin in a folder whose filesystem would be full later.

    :param image: path, for messages; so is delta
    :raises: FlattenFailed
    """
    status = os.statvfs(folder)
    free_bytes = status.f_bavail * status.f_frsize
    if free_bytes < needed_bytes:
        raise exception.FlattenFailed(
            delta=delta, image=image,
            reason=f'{os.path.dirname(folder)} has'
            f' {free_bytes / units.Gi:.2f} GiB free,'
            f' {needed_bytes / units.Gi:.2f} GiB may be needed; free space in'
            ' it, or write elsewhere')


def write(disk, target, disk_format, size_bytes, *, estimate_bytes, timeout_s,
          progress):
    """Write an overlay and what is below it to one file, and sync it.

    :param size_bytes: virtual size
    :param estimate_bytes: how much will be written, for the progress
    :param progress: called with the fraction that is done
    """
    open(target, 'xb').close()
    with sparse.Watch(target, estimate_bytes, progress):
        process.write_disk('qemu-img', 'convert', '-f', 'qcow2', '-O',
                           disk_format, disk, target, size_bytes=size_bytes,
                           timeout_s=timeout_s)
    files.sync(target)
