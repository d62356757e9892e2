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

"""Checks that a libvirt domain can have a FlexMem device."""

import platform
import re

from nova_flexmem.guest import xmledit

#: Families of machine types and the chipset behind each.
_CHIPSETS = ((re.compile(r'pc(-i440fx-.+)?'), 'pc'),
             (re.compile(r'(pc-)?q35(-.+)?'), 'q35'))

#: Elements that rule FlexMem out: an XPath, and the reason.
_UNFIT = (
    ('os/kernel | os/initrd | os/cmdline',
     'it boots a kernel of its own; take the kernel out of its definition, or'
     ' kernel_id from its image'),
    ('devices/interface[@type="vdpa"]'
     ' | devices/disk[@type="vhostvdpa" or @type="nvme"]',
     'it has a host device (NVMe or vhost-vdpa) that QEMU itself programs for'
     ' DMA, which FlexMem does not support; remove the device, or run it'
     ' without FlexMem'),
    ('launchSecurity',
     'its memory is encrypted (SEV or TDX), so it can share none; run it'
     ' without FlexMem'),
)


#: Devices of the host that VFIO gives to the guest.
_VFIO = 'devices/hostdev | devices/interface[@type="hostdev"]'


def chipset(root):
    """Return 'pc' or 'q35'.

    :raises: ValueError for other machine types
    """
    # what libvirt takes where the XML leaves it open
    machine = root.find('os/type').get('machine', 'pc')
    name = chipset_of(machine)
    if name is None:
        raise ValueError(f'FlexMem has no support for machine type {machine};'
                         ' choose pc or q35 (hw_machine_type)')
    return name


def chipset_of(machine):
    """Return 'pc' or 'q35' for a machine type, such as pc-q35-7.2, or None."""
    return next((name for family, name in _CHIPSETS
                 if family.fullmatch(machine)), None)


def has_host_device(root):
    """Return whether a domain has devices that read and write its memory.

    :param root: its XML, an element
    """
    return bool(root.xpath(_VFIO))


def check(root, host_devices=False):
    """Check a stock domain.

    :param root: its XML, an element
    :param host_devices: whether it may have devices of the host
    :raises: ValueError saying why the domain cannot have a FlexMem device, and
        what to do
    """
    os_type = root.find('os/type')
    if root.get('type') not in ('kvm', 'qemu') or os_type is None or (
            (os_type.text or '').strip() != 'hvm'):
        raise ValueError('FlexMem needs a full virtual machine of QEMU; set'
                         ' the domain type to kvm or qemu, and its <os><type>'
                         ' to hvm')
    arch = os_type.get('arch') or platform.machine()
    if arch != 'x86_64':
        raise ValueError(f'FlexMem has no support for {arch} guests; use an'
                         ' x86_64 image, or run it without FlexMem')
    chipset(root)
    for xpath, reason in _UNFIT:
        if root.xpath(xpath):
            raise ValueError(reason)
    if has_host_device(root) and not host_devices:
        raise ValueError(
            'it has a host device (PCI or vGPU), whose DMA beside a read-only'
            ' root.pmem has not been proved on real hardware; remove the'
            ' device, run it without FlexMem, or see [flexmem] host_devices')
    memory = root.find('memory')
    if memory is None or not xmledit.size_kib(memory):
        raise ValueError('it has no memory; set <memory>')


def root_disk(root):
    """Return the <disk> that a stock domain boots from.

    :raises: ValueError if there is none, or none that could be a delta
    """
    disks = (root.xpath('devices/disk[boot/@order="1"]')
             or root.xpath('devices/disk[not(@device) or @device="disk"]'))
    if not disks:
        raise ValueError('it has no root disk; give it a disk that can hold'
                         ' the delta')
    disk = disks[0]
    if disk.get('device', 'disk') != 'disk':
        raise ValueError(f'it boots from a {disk.get("device")}; make its'
                         ' disk the first boot device')
    kind = disk.get('type')
    if kind not in ('file', 'block') and not disk.xpath(
            'self::*[@type="network"]/source[@protocol="rbd"]'):
        raise ValueError(f'its root disk is of type {kind}; only instances'
                         ' with a root disk in a file, on a local device or in'
                         ' Ceph RBD can use FlexMem')
    return disk


def check_delta_bus(root, disk):
    """Check that the guest's initramfs can find a disk by its serial.

    :raises: ValueError if it has no driver for the disk
    """
    target = disk.find('target')
    bus = None if target is None else target.get('bus')
    if bus == 'scsi':
        address = disk.find('address')
        index = '0' if address is None else address.get('controller', '0')
        model = root.xpath('string(devices/controller[@type="scsi" and'
                           ' (@index=$index or not(@index))]/@model)',
                           index=index)
        bus = model if model.startswith('virtio') else (
            f'scsi (controller model {model or "unknown"})')
    if bus is None or not bus.startswith('virtio'):
        raise ValueError(f'its root disk is on bus {bus}; put it on virtio or'
                         ' virtio-scsi (hw_disk_bus, hw_scsi_model)')
