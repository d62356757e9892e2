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

"""Guests of busybox and one script, which reads the config drive.

/init, the initramfs, the hand-over code and the domain are the product's own.
The kernel is a distribution's that has drivers for all that a flavor can
have: Debian's, but not its cloud kernel.
"""

import os

from nova_flexmem.build import handover
from nova_flexmem.build import initramfs
from nova_flexmem.guest import domain
from nova_flexmem.image import kernel
from tests.flavors import guests
from tests.flavors import system
from tests.functional import tiny_guest

#: A size that no other disk has, so that the guest knows its config drive.
_DRIVE_BYTES = 3 << 20

#: Not the initramfs's: the image's own init loads these.
_OWN_MODULES = ('e1000', 'virtio_net', 'uhci_hcd', 'ehci_pci', 'ohci_pci',
                'xhci_pci', 'usbhid', 'hid_generic', 'evdev', 'af_packet')

_INIT = f"""#!/bin/sh
export PATH=/bin
exec < /dev/null > /dev/console 2>&1
stty -onlcr < /dev/console
while read -r module; do insmod "/modules/$module" 2> /dev/null
done < /modules/order
echo begin
for disk in /sys/block/sr* /sys/block/vd* /sys/block/sd*; do
    [ -e $disk ] && [ $(($(cat $disk/size) * 512)) = {_DRIVE_BYTES} ] &&
        echo "drive $(sha256sum < /dev/${{disk##*/}} | cut -d ' ' -f 1)"
done
ip link set eth0 up && udhcpc -i eth0 -n -q -f -t 5 -T 4 -s /bin/leased
for second in 1 2 3 4 5 6 7 8; do
    grep -q 'QEMU USB Tablet' /proc/bus/input/devices && break
    [ "$(cat /sys/bus/usb/devices/*/product 2> /dev/null)" ] || break
    sleep 1
done
echo "tablet $(grep -c 'QEMU USB Tablet' /proc/bus/input/devices)"
echo "processors $(grep -c ^processor /proc/cpuinfo)"
echo "cells $(ls -d /sys/devices/system/node/node* | wc -l)"
echo "ram $(awk '/^MemTotal/ {{ print $2 }}' /proc/meminfo)"
echo written > /written && sync && echo "root $(cat /written)"
dmesg | grep -E 'I/O error|swiotlb buffer is full|DMA' | grep -i -m 3 error
echo end
poweroff -f
"""

_LEASED = '#!/bin/sh\n[ "$1" != bound ] || echo "network $ip"\n'


class BusyboxGuests(guests.Guests):

    def __init__(self, folder, connection):
        super().__init__(folder, connection)
        self._kernel = tiny_guest.Kernel(system.unpacked())
        tree = tiny_guest.make_tree(self.folder / 'tree')
        self._fill(tree)
        self._base = tiny_guest.Base(str(self.folder / 'base'), str(tree))
        wanted = ('overlay', 'ext4', 'erofs', *kernel.NEEDED,
                  *kernel.WELCOME, *kernel.DEVICES['nvdimm'],
                  *kernel.DEVICES['virtio-pmem'])
        handover.write(str(self.folder), self._kernel.path.read_bytes(),
                       initramfs.pack(self._kernel.modules(wanted)))

    def _fill(self, tree):
        (tree / 'sbin/init').write_text(_INIT)
        (tree / 'bin/leased').write_text(_LEASED)
        (tree / 'bin/leased').chmod(0o755)
        (tree / 'modules').mkdir()
        order = []
        for name, content in self._kernel.modules(_OWN_MODULES):
            (tree / f'modules/{name}.ko').write_bytes(content)
            order.append(f'{name}.ko\n')
        (tree / 'modules/order').write_text(''.join(order))

    def boot(self):
        base = self._base
        return domain.Boot(
            root_pmem=base.path, size_bytes=base.size_bytes,
            kernel=str(self.folder / 'kernel'),
            initramfs=str(self.folder / 'initramfs'),
            kernel_args='console=ttyS0 quiet panic=-1 no_timer_check',
            base_uuid=base.uuid, layout=base.layout, rootfs=base.rootfs)

    def make_drive(self, path):
        path.write_bytes(os.urandom(_DRIVE_BYTES))
