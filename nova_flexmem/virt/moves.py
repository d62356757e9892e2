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

"""Instances that change their flavor or their host."""

import os

from nova.compute import vm_states
import nova.conf
from nova import objects

from nova_flexmem import exception
from nova_flexmem.virt import eligibility
from nova_flexmem.virt import hosttraits
from nova_flexmem.virt import layered
from nova_flexmem.virt import policy

CONF = nova.conf.CONF


def left_on_disk(uuid):
    """Return whether this host has files of an instance."""
    path = os.path.join(CONF.instances_path, uuid)
    return any(os.path.exists(path + suffix)
               for suffix in ('', '_resize', '_del'))


def users_here(instances):
    """Return a function that tells whether the instance of a uuid is here.

    :param instances: those of this host, and of all that share its disks
    """
    def is_here(instance):
        return (instance.host == CONF.host or
                instance.vm_state == vm_states.RESIZED or  # may be reverted
                instance.task_state is not None)

    here = {instance.uuid: is_here(instance) for instance in instances}
    return lambda uuid: here[uuid] if uuid in here else left_on_disk(uuid)


def check(context, reportclient, instance, record, flavor):
    """Check that an instance can stay what it is with a flavor and a host.

    :param reportclient: Nova's client of Placement
    :param record: the Record, or None for a stock instance
    :param flavor: the new flavor
    :raises: InstanceRefused
    """
    specs = flavor.extra_specs
    asked = specs.get(policy.FLAVOR_POLICY)
    if record is None:
        if instance.flavor.extra_specs.get(policy.FLAVOR_POLICY) != asked:
            check_stock(flavor)
        return
    if asked == 'disabled':
        raise exception.InstanceRefused(
            reason=f'flavor {flavor.name} disables it, but the instance was'
            ' built with it; choose another flavor')
    writes = specs.get(policy.FLAVOR_WRITES, record.writes)
    if writes != record.writes:
        raise exception.InstanceRefused(
            reason=f'flavor {flavor.name} asks for'
            f' {policy.FLAVOR_WRITES}={writes}, but the instance was built'
            f' with {record.writes}; choose another flavor')
    moved = instance.migration_context
    with instance.mutated_migration_context():
        eligibility.check_flavor(instance, flavor, instance.image_meta)
    if moved:
        _check_host(context, reportclient, moved.migration_id)


def check_stock(flavor):
    """Check that a stock instance may get a flavor.

    :raises: InstanceRefused
    """
    if flavor.extra_specs.get(policy.FLAVOR_POLICY) == 'required':
        raise exception.InstanceRefused(
            reason=f'flavor {flavor.name} requires it, but the instance was'
            ' built with a stock root disk; rebuild it, or choose another'
            ' flavor')


def _check_host(context, reportclient, migration_id):
    migration = objects.Migration.get_by_id(context, migration_id)
    provider = reportclient.get_provider_by_name(context, migration.dest_node)
    traits = reportclient.get_provider_traits(context, provider['uuid']).traits
    if layered.TRAIT not in traits:
        raise exception.InstanceRefused(
            reason=f'host {migration.dest_compute} cannot run FlexMem'
            f' instances; add trait:{layered.TRAIT}=required to the flavor, so'
            ' that only hosts that can are chosen')
    if not hosttraits.keeps_disks_alike(traits):
        raise exception.InstanceRefused(
            reason=f'host {migration.dest_compute} and this one do not both'
            ' keep deltas in Ceph; move it to a host with the same [libvirt]'
            ' images_type')
