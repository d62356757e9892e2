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

"""Images of Ceph RBD, by librbd: made of files, with notes, renamed.

Nova's own rbd_utils has the rest. It makes an image of a file with "rbd
import", which reads the holes of sparse files too: a minute for 20 GiB.
"""

import contextlib
import os

from nova.storage import rbd_utils

from nova_flexmem import exception

try:
    import rados
    import rbd
except ImportError:  # of hosts without Ceph
    rados = rbd = None

#: What is written at once.
_CHUNK_BYTES = 4 << 20


def require_bindings():
    """Check that this Python can speak to Ceph.

    :raises: CephFailed
    """
    if rbd is None:
        raise exception.CephFailed(
            reason='the Python of nova-compute has no modules rados and rbd;'
            ' install python3-rados and python3-rbd')


@contextlib.contextmanager
def answering():
    """Turn errors of Ceph into ours.

    :raises: DiskNotFound, CephFailed
    """
    try:
        yield
    except rbd.ImageNotFound as e:
        raise exception.DiskNotFound(disk=str(e))
    except (rados.Error, rbd.Error) as e:
        raise exception.CephFailed(
            reason=f'{e}; look at "ceph status", and at the caps of the user'
            ' of [libvirt] rbd_user')


def exists(rbd_driver, name):
    """Return whether there is an image of a name.

    :param rbd_driver: Nova's rbd_utils.RBDDriver
    :raises: CephFailed
    """
    with answering():
        return rbd_driver.exists(name)


def create(rbd_driver, name, path):
    """Make an image of a sparse file; holes are not written.

    :raises: CephFailed
    """
    with answering():
        with rbd_utils.RADOSClient(rbd_driver) as client:
            rbd_utils.RbdProxy().create(
                client.ioctx, name, os.path.getsize(path), old_format=False,
                features=client.features)
        with (rbd_utils.RBDVolumeProxy(rbd_driver, name) as image,
              open(path, 'rb') as file):
            for data, offset in _data(file):
                image.write(data, offset)
            image.flush()


def _data(file):
    """Yield (bytes, their offset) of a sparse file."""
    end = 0
    while True:
        try:
            start = os.lseek(file.fileno(), end, os.SEEK_DATA)
        except OSError:  # ENXIO: no data any more
            return
        end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
        while start < end:
            data = os.pread(file.fileno(), min(_CHUNK_BYTES, end - start),
                            start)
            yield data, start
            start += len(data)


def remove(rbd_driver, name):
    """Remove an image if it is there; a client that was killed may hold it.

    :raises: CephFailed
    """
    if exists(rbd_driver, name):
        with answering():
            rbd_driver.destroy_volume(name)


def rename(rbd_driver, name, new_name):
    """Give an image another name.

    :raises: CephFailed
    """
    with answering(), rbd_utils.RADOSClient(rbd_driver) as client:
        rbd_utils.RbdProxy().rename(client.ioctx, name, new_name)


def read_note(rbd_driver, name, key):
    """Return what an image has noted under a key, None if nothing.

    :raises: CephFailed, DiskNotFound
    """
    with answering(), rbd_utils.RBDVolumeProxy(
            rbd_driver, name, read_only=True) as image:
        try:
            return image.metadata_get(key)
        except KeyError:
            return None


def write_note(rbd_driver, name, key, text, prefix=None):
    """Note a text in an image, under a key.

    A clone has the notes of the image that it was made of.

    :param prefix: of the keys of notes that are removed
    :raises: CephFailed, DiskNotFound
    """
    with answering(), rbd_utils.RBDVolumeProxy(rbd_driver, name) as image:
        if prefix:
            for other, _text in [*image.metadata_list()]:
                if other.startswith(prefix):
                    image.metadata_remove(other)
        image.metadata_set(key, text)
