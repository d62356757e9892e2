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

"""Targets: disks and their superblocks, and what is kept beside them."""

import contextlib
import logging
import os
import tempfile

from nova_flexmem.build import rootfs
from nova_flexmem import exception
from nova_flexmem.host import estimate_disk
from nova_flexmem.image import source
from nova_flexmem.store import basefiles
from nova_flexmem.virt import record

logging.getLogger('oslo_utils').setLevel(logging.CRITICAL)

_KEY = '0' * 32


@contextlib.contextmanager
def _file(data, name='disk'):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, name)
        with open(path, 'wb') as f:
            f.write(data)
        yield path


def disk(data):
    """An image file, as far as Python looks into it."""
    for padding in (0, -len(data) % 4096):
        with _file(data + bytes(padding)) as path:
            for allow_backing_chain in (False, True):
                with contextlib.suppress(exception.ImageRefused):
                    found = source._detect(path, allow_backing_chain)
                    assert found in ('raw', 'qcow2')


def clusters(data):
    """A qcow2 file, as host estimate reads its data."""
    size_bytes = 1 << 17
    with _file(data) as path:
        image = source.Source(path, 'qcow2', size_bytes, (path,))
        with contextlib.suppress(exception.ImageRefused,
                                 exception.BuildFailed):
            given = 0
            for chunk in estimate_disk.chunks(image, lambda _part: None):
                assert len(chunk) % 4096 == 0
                given += len(chunk)
            assert given <= size_bytes + (1 << 21)  # its last cluster


def root_filesystem(data):
    """What the appliance wrote where the root filesystem goes."""
    with _file(data) as path:
        for name in ('erofs', 'ext4'):
            with contextlib.suppress(exception.ProgramFailed):
                size = rootfs.load(name).size_bytes(path)
                assert 0 < size <= len(data)


def manifest(data):
    """A base's manifest."""
    with _file(data, basefiles.MANIFEST) as path:
        with contextlib.suppress(exception.BaseDamaged):
            basefiles.Manifest.read(path, _KEY)


def instance_record(data):
    """What an instance was built with."""
    with _file(data, record.NAME) as path:
        with contextlib.suppress(exception.RecordUnusable):
            record.read(os.path.dirname(path))
