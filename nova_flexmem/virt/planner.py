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

"""Decides what an instance gets, before anything of it is created."""

import dataclasses

from oslo_log import log
from oslo_utils import units

from nova.compute import vm_states
import nova.conf
from nova import exception as nova_exception
from nova.virt.libvirt import utils as libvirt_utils

from nova_flexmem import conf as flexmem_conf
from nova_flexmem import exception
from nova_flexmem.guest import cmdline
from nova_flexmem.guest import domain
from nova_flexmem.store import basefiles
from nova_flexmem.virt import asking
from nova_flexmem.virt import diskkinds
from nova_flexmem.virt import eligibility
from nova_flexmem.virt import layered
from nova_flexmem.virt import mark
from nova_flexmem.virt import moves
from nova_flexmem.virt import policy
from nova_flexmem.virt import record as record_module
from nova_flexmem.virt import rehearsal
from nova_flexmem.virt import rootdisk

CONF = nova.conf.CONF
LOG = log.getLogger(__name__)

#: Reasons that hold on every host.
_FOR_EVERY_HOST = (exception.InstanceRefused, exception.ImageRefused,
                   exception.PolicyConflict, exception.DomainRefused)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a FlexMem instance gets.

    :ivar base: the basefiles.Base that it boots from
    :ivar record: the record.Record of it
    :ivar snapshot: the layered snapshot that its delta begins with, a Glance
        id, or None for an empty delta
    :ivar other_layout: whether its delta was made on another layout
    :ivar is_new: whether its disks are made now
    :ivar may_be_stock: whether the stock root disk will do as well
    """

    base: basefiles.Base | None
    record: record_module.Record | None
    snapshot: str | None = None
    other_layout: bool = False
    is_new: bool = True
    may_be_stock: bool = False


class Planner:
    """Decides about instances.

    :param bases: the host's Bases
    :param image_api: Nova's image API
    :param await_fit: raises HostUnfit if the host can't run FlexMem
        instances, once that is known
    :param get_guest_xml: Nova's own LibvirtDriver._get_guest_xml()
    """

    def __init__(self, bases, image_api, await_fit, get_guest_xml):
        self._bases = bases
        self._image_api = image_api
        self._await_fit = await_fit
        self._get_guest_xml = get_guest_xml

    def plan(self, context, instance, image_meta, network_info,
             block_device_info, booted_from_volume, has_host_device=False,
             anew=False):
        """Return the Plan of an instance, or None for a stock instance.

        :param booted_from_volume: whether it is
        :param has_host_device: whether Placement gave it one
        :param anew: whether the disks that it has will be made anew
        :raises: ImageUnacceptable for what no host can do,
            ComputeResourcesUnavailable for what another host may
        """
        if not anew:
            # brought here by shared storage; it stays what it is
            kept = self._kept(context, instance)
            if kept is not None:
                return kept.record and kept
        try:
            link = layered.link(context, self._image_api, instance, image_meta)
            if link is None and layered.is_restored(instance):
                self._check_stock(instance)
                return None
            asked = asking.asked(instance, link)
            if link is None and asked.policy == 'disabled':
                return None
            if link is not None and asked.policy == 'disabled':
                raise exception.PolicyConflict(
                    reason='it is a layered snapshot, which only FlexMem'
                    ' instances can boot, but FlexMem is disabled; use another'
                    ' flavor, or flatten it')
            try:
                eligibility.check(instance, image_meta, network_info or [],
                                  block_device_info, booted_from_volume,
                                  has_host_device)
                rehearsal.try_on(self._get_guest_xml, context, instance,
                                 image_meta, network_info or [],
                                 block_device_info, asked.writes)
                return self._planned(context, instance, image_meta, asked,
                                     link)
            except (exception.FlexMemException, OSError) as e:
                if asked.policy != 'preferred' or link is not None:
                    raise
                LOG.warning('FlexMem is preferred, but the instance gets the'
                            ' stock root disk: %s', e, instance=instance)
                return None
        except _FOR_EVERY_HOST as e:
            image_id = image_meta.id if 'id' in image_meta else '(none)'
            # users are shown 255 characters, so the image is named once
            raise nova_exception.ImageUnacceptable(
                image_id=image_id,
                reason=str(e).removeprefix(f'image {image_id}: '))
        except exception.FlexMemException as e:
            LOG.error('%s', e, instance=instance)
            raise nova_exception.ComputeResourcesUnavailable(reason=str(e))

    @staticmethod
    def _check_stock(instance):
        """Check that a stock instance may stay one.

        :raises: InstanceRefused
        """
        if instance.flavor.extra_specs.get(
                policy.FLAVOR_POLICY) != 'required':
            return
        if layered.SYSTEM_KEY in instance.system_metadata:
            raise exception.ImageRefused(
                image='its snapshot', reason='the properties'
                f' {layered.BASE_IMAGE} and trait:{layered.TRAIT} are missing;'
                ' set them again')
        if instance.vm_state != vm_states.SHELVED_OFFLOADED:
            moves.check_stock(instance.flavor)

    def _kept(self, context, instance):
        """Return the Plan of disks that are there, None if there are none.

        Of the disks of a stock instance, a Plan without a record.
        """
        has_disk = diskkinds.of(instance).exists()
        record = mark.record_of(instance, ask=True) if has_disk else (
            record_module.read(libvirt_utils.get_instance_path(instance)))
        if record and (has_disk or record.writes == 'memory'):
            base = self._bases.of_record(context, instance, record)
            return Plan(base, record.on(base), is_new=False,
                        other_layout=base.layout != record.root_sha256)
        return Plan(None, None) if has_disk else None

    def _planned(self, context, instance, image_meta, asked, link):
        kernel = asking.asked_kernel(instance)
        without = asking.without(instance)
        self._await_fit()
        if link is None:
            base = self._bases.of_image(context, instance, image_meta.id)
        else:
            base = self._base_of(context, instance, link)
        if asked.writes == 'disk':
            rootdisk.check_size(
                root_bytes(instance, base),
                base.manifest.image_virtual_size_bytes)
        elif link is not None:
            raise exception.InstanceRefused(
                reason='its image is a layered snapshot, whose data is on'
                ' disk; use flexmem:writes=disk')
        record = record_module.Record(
            base_key=base.key, root_sha256=base.layout,
            image_id=link.wanted.image_id if link else image_meta.id,
            image_sha256=base.manifest.image_sha256,
            device=_device(base), writes=asked.writes,
            direct_paths=(link.direct_paths if link
                          else asking.direct_paths(instance)),
            rootfs=base.manifest.rootfs, kernel=kernel, without=without)
        eligibility.check_addresses(instance, image_meta, base)
        try:
            cmdline.build(domain.Boot.of(base), record.writes,
                          record.direct_paths,
                          flexmem_conf.reporting_order(CONF),
                          CONF.flexmem.extra_kernel_args,
                          kernel=record.kernel,
                          vcpus=instance.flavor.vcpus,
                          without=record.without,
                          emulated=CONF.libvirt.virt_type == 'qemu')
        except ValueError as e:
            raise exception.InstanceRefused(reason=str(e))
        if link is None:
            return Plan(base, record,
                        may_be_stock=asked.policy == 'preferred')
        return Plan(base, record, image_meta.id,
                    other_layout=base.layout != link.wanted.layout)

    def _base_of(self, context, instance, link):
        """Return the base that a layered snapshot can lie on."""
        try:
            return self._bases.of_snapshot(context, instance, link.wanted)
        except nova_exception.ImageNotFound:
            if link.visible:
                raise
            raise exception.ImageRefused(
                image=f'image {link.wanted.image_id}', reason='the snapshot'
                ' lies on it, but it is gone from Glance and no host has the'
                ' base of it that the snapshot was made on')


def root_bytes(instance, base):
    """Return the size of an instance's root disk.

    As with stock instances, a flavor with no size takes the image's.
    """
    return (instance.flavor.root_gb * units.Gi
            or base.manifest.image_virtual_size_bytes)


def _device(base):
    """Return the FlexMem device that the host wants and the kernel has."""
    wanted = CONF.flexmem.device
    return wanted if wanted in base.manifest.devices else (
        base.manifest.devices[0])
