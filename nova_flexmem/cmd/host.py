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

"""nova-flexmem host: what the instances of this host cost its memory."""

import importlib
import typing

from cliff import lister
from oslo_utils import units

from nova_flexmem import exception
from nova_flexmem.host import accounting
from nova_flexmem.host import working_set
from nova_flexmem.store import basestore

#: Of the columns with sizes: the heading in tables, and the name for programs.
_SIZES = (
    ('Private', 'private_anonymous'), ('of it RAM', 'guest_ram'),
    ("of it QEMU's", 'qemu'), ('Page tables', 'page_tables'),
    ('Swapped', 'swap'), ('Base mapped', 'base_mapped'),
    ('Base used', 'base_used'), ('Base resident', 'base_resident'),
    ('Page structs', 'page_structs'), ('Guest cache', 'guest_page_cache'),
    ('Saved at least', 'saved_at_least'), ('Saved at most', 'saved_at_most'))


class Memory(lister.Lister):
    """Show what bases and instances hold of this host's memory.

    Each base has a row with the sums of its instances, whose rows follow.
    The last row is the host's. Tables show MiB, other formats bytes.
    """

    app: typing.Any

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--working-set', metavar='SECONDS', type=float,
            help='measure how much of their bases instances use within'
            ' SECONDS. This resets the kernel\'s record of earlier use.'
            ' Instances that run with KVM are left out')
        parser.add_argument(
            '--prometheus', metavar='FILE',
            help='write metrics to FILE instead, in Prometheus\'s text format,'
            ' for node_exporter\'s textfile collector; the file is replaced as'
            ' a whole; "-" is standard output')
        return parser

    def run(self, parsed_args):
        if not parsed_args.prometheus:
            return super().run(parsed_args)
        exposition = _exposition()
        taken = self._take(parsed_args)
        if parsed_args.prometheus == '-':
            self.app.stdout.write(exposition.text(taken))
        else:
            exposition.write(taken, parsed_args.prometheus)
        return 0

    def take_action(self, parsed_args):
        taken = self._take(parsed_args)
        if parsed_args.formatter == 'table':
            return (('Kind', 'Base', 'Instance', 'PID',
                     *(f'{heading} MiB' for heading, _name in _SIZES)),
                    [_in_table(row) for row in rows(taken)])
        return (('kind', 'base', 'instance', 'uuid', 'pid',
                 *(f'{name}_bytes' for _heading, name in _SIZES)),
                rows(taken))

    def _take(self, parsed_args):
        opened = basestore.Store(self.app.conf.flexmem.store_path,
                                 read_only=True)
        wait_s = parsed_args.working_set
        if wait_s is None:
            return accounting.measure(opened)
        if wait_s <= 0:
            raise exception.ConfigUnusable(
                reason=f'--working-set {wait_s:g}: give seconds to wait')
        return accounting.measure(opened, working_set.measure(wait_s))


def _exposition():
    """Import nova_flexmem.host.exposition, which needs an extra."""
    try:
        return importlib.import_module('nova_flexmem.host.exposition')
    except ModuleNotFoundError as e:
        raise exception.CommandUnavailable(
            name='host memory --prometheus', package=e.name,
            extra='nova-flexmem[prometheus]')


def rows(taken):
    """Return rows for programs: tuples of names, and of sizes in bytes.

    :param taken: an accounting.HostMemory
    """
    rows = []
    for base in taken.bases:
        rows.append(('base', base.key, None, None, None, *_summed(
            base.instances, base.mapped_bytes, base.resident_bytes,
            base.saved_at_least_bytes, base.saved_at_most_bytes)))
        rows += map(_of_instance, base.instances)
    rows += map(_of_instance, taken.stock)
    rows.append(('host', None, None, None, None, *_summed(
        taken.instances, sum(base.mapped_bytes for base in taken.bases),
        sum(base.resident_bytes for base in taken.bases),
        _sum(base.saved_at_least_bytes for base in taken.bases
             if base.instances),
        sum(base.saved_at_most_bytes for base in taken.bases))))
    return rows


def _summed(instances, mapped_bytes, resident_bytes, least_bytes, most_bytes):
    return (sum(each.private_bytes for each in instances),
            sum(each.ram_bytes for each in instances),
            sum(each.qemu_bytes for each in instances),
            sum(each.page_tables_bytes for each in instances),
            sum(each.swap_bytes for each in instances),
            mapped_bytes, None, resident_bytes,
            sum(each.page_structs_bytes for each in instances),
            _sum(each.guest_cache_bytes for each in instances),
            least_bytes, most_bytes)


def _of_instance(each):
    of_base = [None, None, None] if each.base is None else [
        each.base_mapped_bytes, each.base_used_bytes, each.page_structs_bytes]
    return ('instance', each.base, each.name, each.uuid, each.pid,
            each.private_bytes, each.ram_bytes, each.qemu_bytes,
            each.page_tables_bytes, each.swap_bytes, of_base[0], of_base[1],
            None, of_base[2], each.guest_cache_bytes, None, None)


def _sum(values):
    """Return the sum of values, or None if one is not known, or none is."""
    listed = list(values)
    return sum(listed) if listed and None not in listed else None


def _in_table(row):
    kind, base, name, uuid, pid, *sizes = row
    return (kind, (base or '')[:8], name or uuid or '', pid or '',
            *('' if size is None else f'{size / units.Mi:.1f}'
              for size in sizes))
