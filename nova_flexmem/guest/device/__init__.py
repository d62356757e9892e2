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

"""The FlexMem device: how root.pmem gets into a guest.

libvirt's own <memory model='nvdimm'> and 'virtio-pmem' open the file for
writing and touch every page of it, <readonly/> or not (seen with 9.0). So the
device goes to QEMU by way of <qemu:commandline>. What keeps guests from
writing to the shared base is in one place, memory_backend(), for all drivers.
"""

import abc

#: Ids of QEMU's objects. libvirt's begin otherwise, or with "ua-" if users'.
BACKEND_ID = 'flexmem-base'
DEVICE_ID = 'flexmem-device'


def memory_backend(path, size_bytes):
    """Return QEMU's options that map root.pmem, shared and read-only.

    :param path: path of root.pmem; commas are fine
    :param size_bytes: exact size of the file, else QEMU does not start
    """
    # QEMU's option syntax writes a comma in a value as two
    path = path.replace(',', ',,')
    return ['-object', f'memory-backend-file,id={BACKEND_ID},mem-path={path},'
                       f'size={size_bytes},share=on,readonly=on,align=2M']


class Device(abc.ABC):
    """A driver of namespace nova_flexmem.device."""

    @abc.abstractmethod
    def arguments(self, chipset, dimm_slot):
        """Return QEMU's options for the device over BACKEND_ID.

        :param chipset: 'pc' (i440fx) or 'q35'
        :param dimm_slot: number of a memory slot that is free for it
        """
