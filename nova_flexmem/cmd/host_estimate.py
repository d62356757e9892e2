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

"""nova-flexmem host estimate: what FlexMem would save on this host."""

import typing

from cliff import lister
from oslo_utils import units

from nova_flexmem.cmd import arguments
from nova_flexmem.cmd import progress
from nova_flexmem import conf as flexmem_conf
from nova_flexmem import exception
from nova_flexmem.host import estimate
from nova_flexmem.host import estimate_sample
from nova_flexmem.host import pages

#: Columns with sizes.
_SIZES = ('ram', 'read', 'of_image', 'of_image_low', 'of_image_high', 'free',
          'saved', 'saved_low', 'saved_high', 'with_flexmem', 'base_at_most',
          'in_other_images')

#: Columns of tables.
_HEADINGS = ('Kind', 'Image', 'Instance', 'PID', 'RAM MiB', 'Of the image MiB',
             '95 % interval', 'Free MiB', 'Saved MiB', 'With FlexMem MiB',
             'Base, once, at most MiB', 'In other images MiB')


class Estimate(lister.Lister):
    """Estimate what FlexMem would save of this host's memory.

    Compares a sample of the memory of stock instances with their images in
    Nova's image cache. Nothing is changed, and no instance is stopped. A row
    for each image sums up those of its instances, which follow it, and the
    last row is for the host. Tables have MiB, everything else bytes.
    """

    app: typing.Any

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--image-cache', metavar='FOLDER', default=estimate.Options.cache,
            help="Nova's image cache, _base in [DEFAULT] instances_path;"
            ' default: %(default)s')
        parser.add_argument(
            '--sample-mib', metavar='MIB', type=arguments.at_least_one,
            default=estimate.Options.sample_pages * pages.PAGE_BYTES
            // units.Mi, help='how much to read of each instance; more takes'
            ' longer and is more exact; default: %(default)s')
        return parser

    def run(self, parsed_args):
        status = super().run(parsed_args)
        self.app.stderr.write(f'{self._summary}\n')
        return status

    def take_action(self, parsed_args):
        conf = self.app.conf.flexmem
        options = estimate.Options(
            max_virtual_size_bytes=conf.max_virtual_size_gib * units.Gi,
            cache=parsed_args.image_cache,
            sample_pages=parsed_args.sample_mib * units.Mi
            // pages.PAGE_BYTES,
            free_returned=flexmem_conf.reporting_order(self.app.conf) == 0)
        with progress.Progress(self.app.stderr) as reporter:
            taken = estimate.measure(options, reporter)
        for sentence in taken.left_out:
            self.app.stderr.write(f'{sentence}\n')
        if not taken.instances:
            raise exception.EstimateFailed(
                reason='there is no instance on this host that can be'
                ' compared with its image')
        self._summary = summary(taken)
        if parsed_args.formatter == 'table':
            return _HEADINGS, map(_in_table, rows(taken))
        return (('kind', 'image', 'instance', 'uuid', 'pid',
                 *(f'{name}_bytes' for name in _SIZES)), rows(taken))


def rows(taken):
    """Return rows for programs: tuples of names, and of sizes in bytes.

    :param taken: an estimate.HostEstimate
    """
    rows = []
    for image in taken.images:
        rows.append(('image', image.image, None, None, None, *_sizes(
            image.instances, image.data_bytes, image.in_others_bytes)))
        rows += [('instance', image.image, each.instance.qemu.name,
                  each.instance.qemu.uuid, each.instance.qemu.pid,
                  *_sizes([each], None, None)) for each in image.instances]
    rows.append(('host', None, None, None, None, *_sizes(
        taken.instances, sum(image.data_bytes for image in taken.images),
        taken.more_than_once_bytes)))
    return rows


def summary(taken):
    """Return in a sentence what FlexMem would save."""
    saved = estimate_sample.add(each.saved for each in taken.instances)
    ram_bytes = sum(each.ram_bytes for each in taken.instances)
    base_bytes = sum(image.data_bytes for image in taken.images)
    count = len(taken.instances)
    return (f'With FlexMem {count} instance{"s" * (count > 1)} would hold'
            f' {_mib(ram_bytes - saved.estimate)} MiB of RAM instead of'
            f' {_mib(ram_bytes)}, and the host would cache at most'
            f' {_mib(base_bytes)} MiB of bases, once for all instances.')


def _sizes(instances, base_bytes, in_others_bytes):
    of_image = estimate_sample.add(each.of_image for each in instances)
    saved = estimate_sample.add(each.saved for each in instances)
    ram_bytes = sum(each.ram_bytes for each in instances)
    free = [each.free_bytes for each in instances
            if each.free_bytes is not None]
    return (ram_bytes, sum(each.read_bytes for each in instances),
            *map(round, (of_image.estimate, of_image.low, of_image.high)),
            sum(free) if free else None,
            *map(round, (saved.estimate, saved.low, saved.high)),
            sum(each.with_flexmem_bytes for each in instances), base_bytes,
            in_others_bytes)


def _in_table(row):
    kind, image, name, uuid, pid, *sizes = row
    (ram, _read, of_image, low, high, free, saved, _low, _high, with_flexmem,
     base, in_others) = ('' if size is None else _mib(size) for size in sizes)
    return (kind, image or '', name or uuid or '', pid or '', ram, of_image,
            f'{low}..{high}', free, saved, with_flexmem, base, in_others)


def _mib(size_bytes):
    return f'{size_bytes / units.Mi:.0f}'
