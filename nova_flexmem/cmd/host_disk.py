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

"""nova-flexmem host disk."""

import typing

from cliff import lister
from oslo_utils import units

from nova_flexmem.host import disk
from nova_flexmem.store import basestore

_SIZES = ('base', 'delta')


class Disk(lister.Lister):
    """Show what bases and deltas take of this host's disk.

    Each base has a row with the sum of its instances' deltas, which follow.
    The last row is the host's. A delta on another kind of disk, as in Ceph,
    has no size. Tables show MiB, other formats bytes.
    """

    app: typing.Any

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--instances', metavar='FOLDER',
            default='/var/lib/nova/instances',
            help='[DEFAULT] instances_path of Nova; default: %(default)s')
        return parser

    def take_action(self, parsed_args):
        opened = basestore.Store(self.app.conf.flexmem.store_path,
                                 read_only=True)
        found = rows(disk.measure(opened, parsed_args.instances))
        if parsed_args.formatter == 'table':
            return (('Kind', 'Base', 'Instance',
                     *(f'{name.capitalize()} MiB' for name in _SIZES)),
                    [(kind, (key or '')[:8], uuid or '', *(
                        '' if size is None else f'{size / units.Mi:.1f}'
                        for size in sizes))
                     for kind, key, uuid, *sizes in found])
        return (('kind', 'base', 'instance',
                 *(f'{name}_bytes' for name in _SIZES)), found)


def rows(bases):
    """Return rows for programs: kind, base, instance, sizes in bytes.

    :param bases: what disk.measure() returned
    """
    found: list[tuple] = []
    for base in bases:
        found.append(('base', base.key, None, base.allocated_bytes,
                      _sum(base.deltas)))
        found += [('instance', base.key, delta.uuid, None,
                   delta.allocated_bytes) for delta in base.deltas]
    return [*found, ('host', None, None,
                     sum(base.allocated_bytes for base in bases),
                     sum(_sum(base.deltas) for base in bases))]


def _sum(deltas):
    return sum(delta.allocated_bytes or 0 for delta in deltas)
