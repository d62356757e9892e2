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

"""The FlexMem device as an NVDIMM, which the guest finds through ACPI.

Source: docs/nvdimm.txt of QEMU.
"""

from nova_flexmem.guest import device


class Nvdimm(device.Device):
    """An NVDIMM in a memory slot."""

    movable = True

    def arguments(self, chipset, dimm_slot):
        """Return QEMU's options for an NVDIMM in slot dimm_slot.

        They are the same for both chipsets.
        """
        # unarmed tells the guest that writes do not persist, so its kernel
        # makes the block device read-only; QEMU demands it with readonly=on
        return ['-machine', 'nvdimm=on',
                '-device', f'nvdimm,id={device.DEVICE_ID},'
                           f'memdev={device.BACKEND_ID},slot={dimm_slot},'
                           'unarmed=on']
