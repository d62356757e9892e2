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

"""One build of a base: its folder, and the disk space that it may take."""

import dataclasses
import os
import typing

from oslo_utils import units

from nova_flexmem.build import rootpmem
from nova_flexmem import exception
from nova_flexmem.image import imagebytes
from nova_flexmem.image import source as source_module
from nova_flexmem.image import sparse
from nova_flexmem.store import basefiles
from nova_flexmem.store import basestore
from nova_flexmem.store import room


@dataclasses.dataclass(frozen=True)
class Job:
    """One build: what all of its steps need.

    :ivar store: the Store
    :ivar source: the image, a source.Source
    :ivar sha256: what imagebytes.digest returned of it
    :ivar folder: the folder to build in
    :ivar options: a builder.Options
    :ivar progress: as builder.build() takes it
    """

    store: basestore.Store
    source: source_module.Source
    sha256: str
    folder: str
    options: typing.Any
    progress: typing.Callable

    def base_path(self, name=''):
        """Return the path of a file of the base."""
        return os.path.join(self.folder, 'base', name)


def take_copy(job):
    """Return the path of a private copy of the image."""
    # what the copy takes; the base is about as large as a rule
    make_room(job, sum(sparse.written_bytes(path)
                       for path in job.source.chain))
    downloads = job.store.folder('downloads')
    copy = imagebytes.take(
        job.source, job.sha256, job.folder, timeout_s=job.options.timeout_s,
        take_over=(job.options.take_over and
                   os.path.dirname(job.source.path) == downloads),
        progress=lambda part: job.progress('copying the image', part))
    # what was inspected may have been another file of the same name
    source_module.inspect(copy, max_virtual_size_bytes=job.options
                          .max_virtual_size_bytes)
    return copy


def allocate(job, filesystem_bytes):
    """Take the disk space of root.pmem, if it is not too much."""
    limit_bytes = job.options.max_base_size_bytes
    if filesystem_bytes > limit_bytes:
        raise exception.ImageRefused(
            image=job.source.path, reason='its base would need'
            f' {filesystem_bytes / units.Gi:.1f} GiB, the'
            f' limit is {limit_bytes / units.Gi:.1f} GiB; raise [flexmem]'
            ' max_base_size_gib to build it')
    make_room(job, filesystem_bytes)
    rootpmem.allocate(job.base_path(basefiles.ROOT_PMEM), filesystem_bytes)


def make_room(job, size_bytes):
    """Keep the store to its limit with a base of a size in it."""
    # what the build takes meanwhile goes at its end, and what Nova
    # downloaded for it does then
    downloads = job.store.folder('downloads')
    downloaded_bytes = sum(
        os.stat(path).st_blocks * 512 for path in job.source.chain
        # not if the build has taken it over
        if os.path.dirname(path) == downloads and os.path.exists(path))
    going_bytes = room.allocated_bytes(job.folder) + downloaded_bytes
    room.make_room(job.store, size_bytes - going_bytes,
                   job.options.max_store_size_bytes)
