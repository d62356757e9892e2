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

"""Which instances can't use FlexMem, and why.

Everything is looked at before anything is created. What concerns the domain
alone is in nova_flexmem.guest.fitness, which sees its XML. The reasons are
short, as Nova shows users 255 characters, with 155 of its own words.
"""

import re

import nova.conf
from nova.conf import devices
from nova.virt import configdrive
from nova.virt import hardware
from nova.virt.libvirt import blockinfo
from nova.virt.libvirt import utils as libvirt_utils

from nova_flexmem import exception
from nova_flexmem.guest import fitness
from nova_flexmem.guest import memory
from nova_flexmem.store import basefiles
from nova_flexmem.virt import diskkinds

CONF = nova.conf.CONF

#: What extra specs begin with that ask for a host device.
_HOST_DEVICES = ('pci_passthrough:', 'accel:')

#: Extra specs that ask for a resource, of a numbered or named group or of
#: none.
_RESOURCE = re.compile(r'resources[A-Za-z0-9_-]*:(\w+)')

_HOST_DEVICE = ('it has a host device (PCI, vGPU, accelerator, direct port);'
                ' DMA beside a base is not proved')

_VDPA = 'it has a vDPA port; use a normal or a direct one'

_DIRECT_VNICS = ('direct', 'direct-physical', 'macvtap',
                 'accelerator-direct', 'accelerator-direct-physical',
                 'remote-managed')


def check(instance, image_meta, network_info, block_device_info,
          booted_from_volume, has_host_device=False):
    """Check what Nova says of an instance that shall use FlexMem.

    :param has_host_device: whether Placement gave it one
    :raises: InstanceRefused
    """
    _raise(_of_host())
    _raise([(has_host_device and not CONF.flexmem.host_devices,
             _HOST_DEVICE)])
    _raise(_of_boot(instance, image_meta, booted_from_volume))
    check_flavor(instance, instance.flavor, image_meta)
    _raise(_of_devices(instance, image_meta, network_info, block_device_info))


def check_flavor(instance, flavor, image_meta):
    """Check that a flavor suits an instance that uses FlexMem.

    :raises: InstanceRefused
    """
    _raise(_of_flavor(instance, flavor, image_meta))


def check_addresses(instance, image_meta, base):
    """Check that an instance has addresses left for the FlexMem device.

    :param base: the basefiles.Base that it would boot from
    :raises: InstanceRefused
    """
    bits = (instance.flavor.extra_specs.get('hw:maxphysaddr_bits')
            or image_meta.properties.get('hw_maxphysaddr_bits')
            or (memory.host_address_bits() if CONF.libvirt.virt_type == 'kvm'
                else memory.ADDRESS_BITS))
    try:
        memory.check_end(
            fitness.chipset_of(libvirt_utils.get_machine_type(image_meta)
                               or 'pc'),
            instance.flavor.memory_mb << 10,
            base.manifest.files[basefiles.ROOT_PMEM].size_bytes // 1024, 1,
            int(bits))
    except ValueError as e:
        raise exception.InstanceRefused(reason=str(e))


def check_interface(vif):
    """Check that a port suits an instance that uses FlexMem.

    :raises: InstanceRefused
    """
    _raise(_of_interface(vif))


def _raise(findings):
    for found, reason in findings:
        if found:
            raise exception.InstanceRefused(reason=reason)


# Each of these yields (whether it is so, why it rules FlexMem out).

def _of_host():
    yield (CONF.libvirt.virt_type not in ('kvm', 'qemu'),
           f'[libvirt] virt_type is {CONF.libvirt.virt_type}; it needs kvm or'
           ' qemu')
    yield (CONF.libvirt.images_type not in diskkinds.IMAGES_TYPES,
           f'[libvirt] images_type is {CONF.libvirt.images_type}; the delta'
           ' needs qcow2, raw or rbd')


def _of_boot(instance, image_meta, booted_from_volume):
    yield (booted_from_volume,
           'it boots from a volume; boot it from an image')
    yield (instance.kernel_id,
           f'its image names a kernel of its own ({instance.kernel_id}); use'
           ' an image that has its kernel inside')
    arch = libvirt_utils.get_arch(image_meta)
    yield (arch != 'x86_64',
           f'its architecture is {arch}; only x86_64 is supported')
    machine = libvirt_utils.get_machine_type(image_meta) or 'pc'
    yield (fitness.chipset_of(machine) is None,
           f'its machine type is {machine}; use pc or q35 (hw_machine_type)')
    yield (CONF.libvirt.inject_partition != -2 and
           not configdrive.required_by(instance),
           'files would be injected into its root disk; use a config drive, or'
           ' [libvirt] inject_partition=-2')


def _of_flavor(instance, flavor, image_meta):
    pci_requests = instance.pci_requests
    asked = (any(spec.startswith(_HOST_DEVICES) for spec in flavor.extra_specs)
             or _resources(flavor) & _mdev_classes()
             or (pci_requests and pci_requests.requests))
    yield asked and not CONF.flexmem.host_devices, _HOST_DEVICE
    yield (hardware.get_mem_encryption_constraint(flavor, image_meta),
           'its memory is encrypted, so that none of it can be shared')
    yield (hardware.get_secure_boot_constraint(flavor, image_meta)
           == 'required',
           'it needs Secure Boot, but would start its kernel without firmware')


def _resources(flavor):
    """Return the resource classes that a flavor asks Placement for, a set."""
    return {match[1] for spec, amount in flavor.extra_specs.items()
            if (match := _RESOURCE.fullmatch(spec)) and amount != '0'}


def _mdev_classes():
    """Return the classes that mediated devices are reported in, a set.

    Hosts that an instance is resized to may have more of them than this one.
    """
    devices.register_dynamic_opts(CONF)
    return {'VGPU', *(CONF[f'mdev_{name}'].mdev_class
                      for name in CONF.devices.enabled_mdev_types)}


def _of_interface(vif):
    yield vif['vnic_type'] == 'vdpa', _VDPA
    yield (vif['vnic_type'] in _DIRECT_VNICS and
           not CONF.flexmem.host_devices, _HOST_DEVICE)


def _of_devices(instance, image_meta, network_info, block_device_info):
    for vif in network_info:
        yield from _of_interface(vif)
    disk = blockinfo.get_disk_info(
        CONF.libvirt.virt_type, instance, image_meta,
        block_device_info)['mapping']['disk']
    yield (disk.get('encrypted'), 'its root disk is encrypted')
    model = image_meta.properties.get('hw_scsi_model')
    yield (disk['bus'] != 'virtio' and
           (disk['bus'], model) != ('scsi', 'virtio-scsi'),
           f'its root disk is on bus {disk["bus"]}; use virtio, or scsi with'
           ' hw_scsi_model=virtio-scsi')
