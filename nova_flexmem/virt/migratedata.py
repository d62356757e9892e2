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

"""What source and destination of a live migration tell each other.

Nova passes a LibvirtLiveMigrateData between the two hosts, through the
conductor, and has no field for others in it. What is told here goes in fields
for mediated devices, which FlexMem instances cannot have. A destination
without this driver refuses an instance with an entry in source_mdev_types,
because it has no device of the kind.
"""

import dataclasses
import json

from nova import exception as nova_exception

from nova_flexmem.guest import moving
from nova_flexmem.virt import record as record_module

_NAME = 'flexmem'

#: Grows when a host of another version would take it for something else.
VERSION = 1


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the source says of an instance.

    :ivar host: the source's name
    :ivar record: the record.Record of the instance
    :ivar place: the moving.Place of the running guest there
    """

    host: str
    record: record_module.Record
    place: moving.Place


def offer(data):
    """Note that the destination can take FlexMem instances."""
    data.target_mdevs = _packed({})


def is_offered(data):
    """Return whether offer() has been called, in this version."""
    return 'target_mdevs' in data and _told(data.target_mdevs) is not None


def withdraw(data):
    """Note that the source knows the instance as a stock one.

    Its mark is left over from another version.
    """
    data.target_mdevs = {}


def is_withdrawn(data):
    """Return whether withdraw() has been called."""
    return 'target_mdevs' in data and not data.target_mdevs


def tell_facts(data, facts):
    """Have the source tell its Facts."""
    data.source_mdev_types = _packed(dataclasses.asdict(facts))


def take_facts(data):
    """Keep the Facts where Nova's own checks do not see them.

    :returns: the Facts, or None for a stock instance
    """
    if 'source_mdev_types' not in data or (
            _NAME not in data.source_mdev_types):
        return None
    data.target_mdevs = data.source_mdev_types
    data.source_mdev_types = {}
    return facts_of(data)


def facts_of(data):
    """Return the Facts that were taken.

    :raises: MigrationPreCheckError if there are none
    """
    told = _required(data)
    return Facts(told['host'], record_module.Record(**told['record']),
                 moving.Place(**told['place']))


def tell_place(data, place):
    """Have the destination tell the moving.Place of the guest there."""
    data.target_mdevs = _packed(dataclasses.asdict(place))


def place_of(data):
    """Return the moving.Place at the destination.

    :raises: MigrationPreCheckError if there is none
    """
    told = _required(data)
    return moving.Place(**{name: told[name] for name in (
        'root_pmem', 'kernel', 'initramfs', 'switch')})


def _packed(facts):
    return {_NAME: json.dumps(facts | {'version': VERSION})}


def _told(field):
    """Return what an entry says; None if it is none of this version."""
    facts = json.loads(field.get(_NAME, '{}'))
    return facts if facts.pop('version', None) == VERSION else None


def _required(data):
    told = _told(data.target_mdevs) if 'target_mdevs' in data else None
    if not told:
        raise nova_exception.MigrationPreCheckError(
            reason='the other host runs another version of nova-flexmem, or'
            ' lost what it was told; upgrade it, and try again')
    return told
