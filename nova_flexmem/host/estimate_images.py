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

"""Fingerprints of the pages of images, and what images have in common."""

import collections
import dataclasses
import itertools

from nova_flexmem.host import estimate_disk
from nova_flexmem.host import estimate_sample
from nova_flexmem.host import pages
from nova_flexmem.image import source

#: One of so many pages of an image is compared with other images, always the
#: same by their content.
_ONE_OF = 16
_PART_BYTES = _ONE_OF * pages.PAGE_BYTES


@dataclasses.dataclass(frozen=True)
class Fingerprints:
    """The pages of an image.

    :ivar known: the fingerprints of all pages with data, a set
    """

    known: set[int]

    @property
    def data_bytes(self):
        """Size of the pages, equal ones counted once."""
        return len(self.known) * pages.PAGE_BYTES

    def some(self):
        """Return the part that is compared with other images, a frozenset."""
        return frozenset(each for each in self.known if not each % _ONE_OF)


def read(path, max_virtual_size_bytes, progress):
    """Return the Fingerprints of an image.

    Pages of one byte repeated, such as zeros, are left out: they need not come
    from the image.

    :param progress: called with the fraction done, 0 to 1
    :raises: ImageRefused, BuildFailed
    """
    image = source.inspect(path, max_virtual_size_bytes=max_virtual_size_bytes)
    known: set[int] = set()
    for chunk in estimate_disk.chunks(image, progress):
        known.update(map(estimate_sample.fingerprint, (
            chunk[start:start + pages.PAGE_BYTES]
            for start in range(0, len(chunk), pages.PAGE_BYTES))))
    known.difference_update(
        estimate_sample.fingerprint(bytes([byte]) * pages.PAGE_BYTES)
        for byte in range(256))
    progress(1.0)
    return Fingerprints(known)


def in_others(parts):
    """Return how many bytes of each image at least one other image has too.

    :param parts: {path: Fingerprints.some()} of all images
    :returns: {path: bytes}
    """
    owners = collections.Counter(itertools.chain(*parts.values()))
    return {path: sum(owners[each] > 1 for each in part) * _PART_BYTES
            for path, part in parts.items()}


def more_than_once(parts):
    """Return how much less all images would take if equal pages were one.

    :param parts: {path: Fingerprints.some()} of all images
    """
    return (sum(map(len, parts.values()))
            - len(frozenset().union(*parts.values()))) * _PART_BYTES
