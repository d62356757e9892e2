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

"""What an instance was built with, written down in its own folder.

It is never worked out again from the flavor or from the image: both may have
changed, or be gone, when the instance starts the next time.
"""

import dataclasses
import json
import os

from nova_flexmem import exception
from nova_flexmem.store import basefiles

NAME = 'flexmem.json'

#: Grows when older records can't be read any more.
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Record:
    """What an instance was built with.

    :ivar base_key: key of its base in the store
    :ivar root_sha256: of the base's root.pmem
    :ivar image_id: the Glance image that the base was built from
    :ivar image_sha256: of that image's file
    :ivar device: driver of nova_flexmem.device
    :ivar writes: 'disk' or 'memory'
    :ivar direct_paths: folders in the guest that lie directly on the delta
    :ivar rootfs: the base's root filesystem, on no other of which the delta
        boots; None in records that say nothing of it
    :ivar movable: whether its guest was started so that it can be migrated
        live and suspended
    :ivar kernel_sha256: of the kernel that its guest was started with; None
        in records that say nothing of it
    :ivar initramfs_sha256: the same of the initramfs
    :ivar kernel: 'own' if its guest may start a kernel installed in it, else
        'base'
    :ivar without: what its guest does without, a list of lean.PARTS
    """

    base_key: str
    root_sha256: str
    image_id: str
    image_sha256: str
    device: str
    writes: str
    direct_paths: list[str]
    rootfs: str | None = None
    movable: bool = False
    kernel_sha256: str | None = None
    initramfs_sha256: str | None = None
    kernel: str = 'base'
    without: list[str] = dataclasses.field(default_factory=list)
    format: int = FORMAT

    def on(self, base):
        """Return the Record of the instance on another base of its image."""
        return dataclasses.replace(self, base_key=base.key,
                                   root_sha256=base.layout,
                                   rootfs=base.manifest.rootfs)

    def started(self, base, digests, movable):
        """Return the Record of the instance as its guest is started.

        :param digests: {name: SHA-256} of kernel and initramfs
        """
        return dataclasses.replace(
            self.on(base), movable=movable,
            kernel_sha256=digests[basefiles.KERNEL],
            initramfs_sha256=digests[basefiles.INITRAMFS])

    def text(self):
        """Return the record as it is written down."""
        fields = dataclasses.asdict(self)
        if not self.without:
            del fields['without']  # unknown to the versions before
        return json.dumps(fields, indent=2, sort_keys=True) + '\n'

    def write(self, folder):
        """Write the record of the instance whose folder this is."""
        path = os.path.join(folder, NAME)
        temporary = f'{path}.new'
        with open(temporary, 'w', encoding='utf-8') as f:
            f.write(self.text())
            f.flush()
            os.fsync(f.fileno())
        os.rename(temporary, path)


def read(folder, needed=False):
    """Return the Record of an instance, or None for a stock instance.

    :param folder: the instance's folder
    :param needed: whether it is no stock instance: its delta must not be
        taken for a stock root disk
    :raises: RecordUnusable
    """
    path = os.path.join(folder, NAME)
    try:
        with open(path, encoding='utf-8') as f:
            text = f.read()
    except FileNotFoundError:
        if needed:
            raise exception.RecordUnusable(path=path, reason='it is missing')
        return None
    except (OSError, ValueError) as e:
        raise exception.RecordUnusable(path=path, reason=str(e))
    return parse(text, path)


def parse(text, path):
    """Return the Record that Record.text() wrote.

    :param path: where it was, for errors
    :raises: RecordUnusable
    """
    try:
        record = Record(**json.loads(text))
    except (ValueError, TypeError, RecursionError) as e:
        raise exception.RecordUnusable(path=path, reason=str(e))
    if record.format != FORMAT:
        raise exception.RecordUnusable(
            path=path, reason=f'it is of format {record.format}, not {FORMAT}')
    return record
