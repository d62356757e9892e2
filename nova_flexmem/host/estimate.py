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

"""Estimates what FlexMem would save on a host with stock instances.

A stock instance holds its image's files in its own memory; with FlexMem it
would map the base's one copy. So the memory of each instance is sampled, and
compared with its image. doc/source/operator.rst explains the figures.
"""

import contextlib
import dataclasses
import os

from nova_flexmem import exception
from nova_flexmem.host import accounting
from nova_flexmem.host import balloon
from nova_flexmem.host import estimate_images
from nova_flexmem.host import estimate_instances
from nova_flexmem.host import estimate_sample
from nova_flexmem.host import pages
from nova_flexmem.host import processes

Interval = estimate_sample.Interval


@dataclasses.dataclass(frozen=True)
class Options:
    """What is looked at, and how closely.

    :ivar cache: folder of Nova's image cache
    :ivar sample_pages: pages to read of each instance; if an instance has
        fewer in memory, all are read
    :ivar free_returned: whether FlexMem instances return single free pages
    :ivar pids: look at these QEMU processes only; None: at all
    """

    max_virtual_size_bytes: int
    cache: str = '/var/lib/nova/instances/_base'
    sample_pages: int = 1 << 16
    free_returned: bool = True
    pids: frozenset[int] | None = None


@dataclasses.dataclass(frozen=True)
class InstanceEstimate:
    """What is in the memory of one stock instance.

    :ivar instance: the estimate_instances.Instance
    :ivar ram_bytes: guest RAM that is backed by memory of this process alone
    :ivar read_bytes: how much of it was read
    :ivar of_image: the Interval of the bytes that are pages of its image
    :ivar free_bytes: what the guest has freed and its process still holds, and
        FlexMem instances would return; None if its balloon does not report it
    :ivar page_structs_bytes: what its kernel would take for page structs of
        the FlexMem device
    """

    instance: estimate_instances.Instance
    ram_bytes: int
    read_bytes: int
    of_image: Interval
    free_bytes: int | None
    page_structs_bytes: int

    @property
    def saved(self):
        """The Interval of the RAM that the instance would hold less.

        Some of the free pages are pages of the image too; as large a part of
        them as of all pages.
        """
        free_bytes = self.free_bytes or 0
        in_use = 1 - free_bytes / max(1, self.ram_bytes)
        return Interval(*(
            each * in_use + free_bytes - self.page_structs_bytes for each in (
                self.of_image.estimate, self.of_image.low,
                self.of_image.high)))

    @property
    def with_flexmem_bytes(self):
        """The RAM that the instance would hold."""
        return self.ram_bytes - round(self.saved.estimate)


@dataclasses.dataclass(frozen=True)
class ImageEstimate:
    """An image, and its stock instances on this host.

    :ivar image: its id, or the path of its file
    :ivar path: of its file
    :ivar data_bytes: its pages with data, equal ones counted once: what its
        base would take of the host's page cache at most
    :ivar in_others_bytes: how much of that is also in another image here
    :ivar instances: the InstanceEstimate of each
    """

    image: str
    path: str
    data_bytes: int
    in_others_bytes: int
    instances: list[InstanceEstimate]


@dataclasses.dataclass(frozen=True)
class HostEstimate:
    """All images that stock instances of this host were made from.

    :ivar images: the ImageEstimates, in order of their names
    :ivar more_than_once_bytes: how much less data the images had if pages
        that are equal between them were one
    :ivar left_out: a sentence for each instance that could not be estimated
    """

    images: list[ImageEstimate]
    more_than_once_bytes: int
    left_out: list[str]

    @property
    def instances(self):
        """The InstanceEstimate of each instance of any image."""
        return [each for image in self.images for each in image.instances]


def measure(options, progress):
    """Estimate what FlexMem would save on this host.

    :param options: the Options
    :param progress: called with the name of each stage as it begins, and with
        the fraction of it that is done
    :returns: HostEstimate
    :raises: EstimateFailed if this user may not read the memory of QEMU
    """
    left_out: list[str] = []
    unused = balloon.unused_bytes() if options.free_returned else {}
    images, parts = [], {}
    for path, group in sorted(_by_image(options, left_out).items()):
        name = group[0].image
        try:
            fingerprints = estimate_images.read(
                path, options.max_virtual_size_bytes,
                lambda part: progress(f'reading image {name}', part))
        except (exception.ImageRefused, exception.BuildFailed) as e:
            left_out += [_sentence(each.qemu, f'its image cannot be read: {e}')
                         for each in group]
            continue
        parts[path] = fingerprints.some()
        instances = []
        for number, each in enumerate(group):
            progress(f'sampling {len(group)} instances of image {name}',
                     number / len(group))
            with _leaving_out(each.qemu, left_out):
                instances.append(_instance(
                    each, fingerprints, unused.get(each.qemu.uuid), options))
        images.append(ImageEstimate(name, path, fingerprints.data_bytes, 0,
                                    instances))
    shared = estimate_images.in_others(parts)
    return HostEstimate(
        [dataclasses.replace(each, in_others_bytes=shared[each.path])
         for each in images],
        estimate_images.more_than_once(parts), left_out)


def _by_image(options, left_out):
    """Return the stock instances of this host, by their images' paths."""
    by_image: dict[str, list[estimate_instances.Instance]] = {}
    ids = estimate_instances.image_ids()
    for qemu in processes.running():
        if options.pids is not None and qemu.pid not in options.pids:
            continue
        with _leaving_out(qemu, left_out):
            each = estimate_instances.find(qemu, ids, options.cache)
            # before an image is read for nothing
            estimate_instances.ram(qemu)
            os.close(os.open(f'/proc/{qemu.pid}/mem', os.O_RDONLY))
            by_image.setdefault(each.path, []).append(each)
    return by_image


def _instance(each, fingerprints, unused_bytes, options):
    """Return the InstanceEstimate of an Instance.

    :param unused_bytes: RAM that the guest does not use, or None
    """
    sample = estimate_sample.take(
        each.qemu.pid, estimate_instances.ram(each.qemu), fingerprints.known,
        options.sample_pages)
    ram_bytes = sample.pages * pages.PAGE_BYTES
    free_bytes = None
    if unused_bytes is not None:
        # what it uses is in memory, and the rest of what is there is free
        used_bytes = sum(each.qemu.ram_bytes) - unused_bytes
        free_bytes = max(0, ram_bytes - used_bytes)
    return InstanceEstimate(
        each, ram_bytes, sample.read * pages.PAGE_BYTES,
        sample.equal_pages * pages.PAGE_BYTES, free_bytes,
        fingerprints.data_bytes // pages.PAGE_BYTES
        * accounting.PAGE_STRUCT_BYTES)


@contextlib.contextmanager
def _leaving_out(qemu, left_out):
    """Note why an instance is left out, if it is.

    :raises: EstimateFailed if this user may not look at any
    """
    try:
        yield
    except exception.InstanceLeftOut as e:
        left_out.append(_sentence(qemu, str(e)))
    except (FileNotFoundError, ProcessLookupError):
        left_out.append(_sentence(qemu, 'it ended meanwhile'))
    except PermissionError as e:
        raise exception.EstimateFailed(
            reason=f'the memory of process {qemu.pid} cannot be read ({e});'
            ' run this as root, on a host where the sysctl'
            ' kernel.yama.ptrace_scope is below 3')
    except OSError as e:
        left_out.append(_sentence(qemu, f'its memory cannot be read: {e}'))


def _sentence(qemu, why):
    name = qemu.name or qemu.uuid
    return exception.one_line(
        f'{f"instance {name}" if name else f"process {qemu.pid}"} was left'
        f' out: {why}')
