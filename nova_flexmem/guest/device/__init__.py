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

"""The FlexMem device, through which a guest maps root.pmem.

libvirt's own <memory model='nvdimm'> and 'virtio-pmem' open the file for
writing and touch each page of it, even with <readonly/> (seen with 9.0). So
the device is given to QEMU by <qemu:commandline>. memory_backend() keeps
guests from writing to the shared base; all drivers use it.
"""

import abc

from nova_flexmem.guest import qemuargs

#: Ids of QEMU's objects; libvirt's own ids never begin like these.
BACKEND_ID = 'flexmem-base'
DEVICE_ID = 'flexmem-device'


def memory_backend(path, size_bytes):
    """Return QEMU's options that map root.pmem shared and read-only.

    :param path: path of root.pmem; may contain commas
    :param size_bytes: exact size of the file; QEMU refuses another
    :returns: a list of command line words
    """
    return ['-object', f'memory-backend-file,id={BACKEND_ID},'
                       f'mem-path={qemuargs.escape(path)},'
                       f'size={size_bytes},share=on,readonly=on,align=2M']


class Device(abc.ABC):
    """A kind of FlexMem device; drivers of namespace nova_flexmem.device.

    :cvar movable: whether a guest with the device can be migrated live and
        suspended
    """

    movable = False

    @abc.abstractmethod
    def arguments(self, chipset, dimm_slot):
        """Return QEMU's options for the device.

        The device uses the memory backend BACKEND_ID and has the id DEVICE_ID.

        :param chipset: 'pc' (i440fx) or 'q35'
        :param dimm_slot: number of a free memory slot; a driver may leave it
            unused
        :returns: a list of command line words
        """
