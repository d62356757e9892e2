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

"""Root disks in files: in the format of the host's image backend."""

import contextlib
import json
import os
import tempfile

from oslo_utils import fileutils

import nova.conf

from nova_flexmem import files
from nova_flexmem.guest import delta
from nova_flexmem import process
from nova_flexmem.virt import diskformat
from nova_flexmem.virt import record as record_module
from nova_flexmem.virt import rootdisk

CONF = nova.conf.CONF


class FileDisk(rootdisk.RootDisk):
    """A root disk in a file of the instance's folder."""

    @property
    def source(self):
        return os.path.join(self._folder, 'disk')

    @staticmethod
    def reserved_mib(bases):
        return bases.disk_usage_mib(CONF.instances_path)

    def exists(self):
        return os.path.exists(self.source)

    def is_certainly_stock(self):
        return self.exists() and not self._is_delta()

    def remove(self):
        pass  # it is in the folder

    def record(self, ask=True):
        return record_module.read(self._folder)

    def require_record(self):
        return record_module.read(self._folder, needed=True)

    def write_record(self, record):
        record.write(self._folder)

    def _is_delta(self):
        """Return whether the disk has the label of a delta."""
        # in the format that Nova wrote down for it
        if _format_noted(self.source) == 'qcow2':
            with open(self.source, 'rb') as f:
                header = f.read(16)
            if header[8:16].strip(b'\0'):
                return False  # it has a backing file, as stock disks have
            with tempfile.NamedTemporaryFile() as start:
                process.run(
                    'qemu-img', 'dd', '-f', 'qcow2', '-O', 'raw',
                    f'bs={delta.START_BYTES}', 'count=1', f'if={self.source}',
                    f'of={start.name}', timeout_s=diskformat.TIMEOUT_S)
                return _is_labelled(start.name)
        return _is_labelled(self.source)

    def grow(self, size_bytes):
        backend = self._backend
        _have_format(backend)
        if size_bytes > diskformat.size_bytes(backend.path,
                                              backend.driver_format):
            diskformat.resize(backend.path, backend.driver_format, size_bytes)

    @contextlib.contextmanager
    def publishing(self, size_bytes, record):
        backend = self._backend
        raw, ready = f'{backend.path}.raw', f'{backend.path}.ready'
        try:
            # of a nova-compute that was killed
            fileutils.delete_if_exists(raw)
            yield raw
            if backend.driver_format == 'raw':
                _pin_format(backend)
                os.rename(raw, ready)
            else:
                diskformat.convert(raw, 'raw', ready, backend.driver_format,
                                   size_bytes)
            if backend.preallocate:
                process.write_disk('fallocate', '-n', '-l', str(size_bytes),
                                   ready, size_bytes=size_bytes)
            _replace(backend.path, ready)
        finally:
            fileutils.delete_if_exists(raw)
            fileutils.delete_if_exists(ready)


def _format_noted(path):
    with contextlib.suppress(FileNotFoundError):
        with open(os.path.join(os.path.dirname(path), 'disk.info'),
                  encoding='utf-8') as f:
            formats = json.load(f)
        if path in formats:
            return formats[path]
    return ('raw' if CONF.libvirt.images_type in ('raw', 'flat')
            else 'qcow2')


def _is_labelled(path):
    with open(path, 'rb') as f:
        return delta.is_labelled(f.read(delta.START_BYTES))


def _have_format(backend):
    """Turn a disk that comes from a host with raw disks into the backend's.

    disk.info, which comes with it, says what it is. A guest can write to a raw
    disk what a qcow2 begins with.
    """
    path_format = backend.resolve_driver_format()
    if path_format == backend.driver_format:
        return
    ready = f'{backend.path}.ready'
    try:
        diskformat.convert(
            backend.path, path_format, ready, backend.driver_format,
            diskformat.size_bytes(backend.path, path_format))
        _replace(backend.path, ready)
    finally:
        fileutils.delete_if_exists(ready)
    _note_format(backend)


def _note_format(backend):
    """Write into disk.info what a disk is; Nova never changes an entry."""
    with open(backend.disk_info_path, encoding='utf-8') as f:
        formats = json.load(f)
    temporary = f'{backend.disk_info_path}.new'
    with open(temporary, 'w', encoding='utf-8') as f:
        json.dump(formats | {backend.path: backend.driver_format}, f)
    _replace(backend.disk_info_path, temporary)


def _replace(path, ready):
    """Have a file that is ready in the place of another, and on the disk."""
    files.sync(ready)
    os.rename(ready, path)
    files.sync(os.path.dirname(path))


def _pin_format(backend):
    """Have Nova take a raw disk for raw, whatever it begins with.

    Nova asks a raw disk itself what it is, when it first sees it, and keeps
    the answer in disk.info. What a tenant put into a snapshot may begin like
    a qcow2 whose backing file is a file of the host.
    """
    backend._get_driver_format = lambda: 'raw'
    backend.driver_format = backend.resolve_driver_format()
