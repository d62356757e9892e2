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

"""The FlexMem device as virtio-pmem, a PCI device.

Source: docs/system/devices/virtio-pmem.rst of QEMU.
"""

from nova_flexmem.guest import device

#: PCI addresses that libvirt does not give to its own devices, also not when
#: they are hot-plugged. libvirt does not know of the FlexMem device.
#:
#: q35: function 7 of the slot that libvirt reserves for the chipset's own LPC
#: bridge and SATA (qemuDomainValidateDevicePCISlotsQ35).
#: pc: the last slot. libvirt fills pci.0 from slot 1 upwards; a device in slot
#: 31 would be the 31st, and QEMU refuses it as "not available". The free
#: functions of the chipset's slot 1 do not work: QEMU's ACPI tables route
#: INTA of that slot to the wrong line, and the device has no MSI-X.
_ADDRESSES = {'pc': 'bus=pci.0,addr=0x1f',
              'q35': 'bus=pcie.0,addr=0x1f.0x7'}


class VirtioPmem(device.Device):
    """A virtio-pmem device in a PCI slot of its own."""

    # after a migration its BAR is gone: fsync of the device never returns,
    # and the guest hangs when it reboots (seen with QEMU 7.2)
    movable = False

    def arguments(self, chipset, dimm_slot):
        """Return QEMU's options for a virtio-pmem device.

        Its PCI address depends on the chipset. It takes no memory slot, so
        dimm_slot is unused.
        """
        return ['-device', f'virtio-pmem-pci,id={device.DEVICE_ID},'
                           f'memdev={device.BACKEND_ID},'
                           f'{_ADDRESSES[chipset]}']
