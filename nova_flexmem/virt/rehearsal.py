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

"""Tries on the domain of an instance, before anything of it is created.

What nova_flexmem.guest makes of a domain is refused for reasons that only the
domain shows. Found after Nova has begun, they would end a spawn.
"""

import os
import shutil
import uuid

from nova.virt.libvirt import blockinfo
from nova.virt.libvirt import utils as libvirt_utils

import nova.conf

from nova_flexmem import conf as flexmem_conf
from nova_flexmem.guest import domain
from nova_flexmem.virt import asking

CONF = nova.conf.CONF

#: Of a base that is not built yet. What concerns the base alone is refused
#: when it is there.
_ANY_SIZE_BYTES = 2 << 20
_ANY_LAYOUT = '0' * 32


def try_on(get_guest_xml, context, instance, image_meta, network_info,
           block_device_info, writes):
    """Check that an instance's domain can be that of a FlexMem guest.

    :param get_guest_xml: Nova's own LibvirtDriver._get_guest_xml()
    :raises: DomainRefused; what Nova raises for a domain that it can't make
    """
    xml = _stock(get_guest_xml, context, instance, image_meta, network_info,
                 block_device_info)
    domain.transform(
        xml, _any_boot(), device=CONF.flexmem.device, writes=writes,
        direct_paths=asking.direct_paths(instance),
        extra_kernel_args=CONF.flexmem.extra_kernel_args,
        reporting_order=flexmem_conf.reporting_order(CONF),
        host_devices=CONF.flexmem.host_devices)


def _stock(get_guest_xml, context, instance, image_meta, network_info,
           block_device_info):
    """Return the domain that Nova plans, without what it does for that."""
    # Nova notes its choices in the instance
    instance = instance.obj_clone()
    # its key is made by the spawn itself
    instance.system_metadata.setdefault('vtpm_secret_uuid', str(uuid.uuid4()))
    # it would connect the volumes
    devices = dict(block_device_info or {}, block_device_mapping=[])
    folder = libvirt_utils.get_instance_path(instance)
    there = os.path.exists(folder)
    try:
        return get_guest_xml(
            context, instance, network_info, blockinfo.get_disk_info(
                CONF.libvirt.virt_type, instance, image_meta, devices),
            image_meta, block_device_info=devices)
    finally:
        if not there:  # image backends write down the formats of disks
            shutil.rmtree(folder, ignore_errors=True)


def _any_boot():
    folder = os.path.join(CONF.flexmem.store_path, 'bases', _ANY_LAYOUT)
    return domain.Boot(
        root_pmem=os.path.join(folder, 'root.pmem'),
        size_bytes=_ANY_SIZE_BYTES, kernel=os.path.join(folder, 'kernel'),
        initramfs=os.path.join(folder, 'initramfs'), kernel_args='',
        base_uuid=str(uuid.uuid4()), layout=_ANY_LAYOUT, rootfs='erofs')
