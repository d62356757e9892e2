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

"""Guests of all flavors: they read their config drive, and say what they see.

The base's tree is busybox and one script; /init, the initramfs, the hand-over
code and the domain are the product's own. The kernel is a distribution's that
has drivers for all that a flavor can have: Debian's, but not its cloud kernel.
"""

import hashlib
import os
import pathlib
import subprocess
import time

import libvirt

from nova_flexmem.build import handover
from nova_flexmem.build import initramfs
from nova_flexmem.demo import hypervisor
from nova_flexmem.guest import delta
from nova_flexmem.guest import domain
from nova_flexmem.image import kernel
from tests.flavors import domains
from tests.functional import tiny_guest

#: A size that no other disk has, so that the guest knows its config drive.
_DRIVE_BYTES = 3 << 20

#: Without KVM, on a host with other load, with 8 processors to start.
_BOOT_S = 600

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


class Guests:
    """Starts guests on a libvirt connection, one after the other.

    :param folder: a folder that QEMU's user can enter
    :param connection: a libvirt.virConnect
    :param system: a folder with boot/vmlinuz-* and lib/modules
    """

    def __init__(self, folder, connection, system):
        self._folder = pathlib.Path(folder)
        self._connection = connection
        self._kernel = tiny_guest.Kernel(system)
        tree = tiny_guest.make_tree(self._folder / 'tree')
        self._fill(tree)
        self._base = tiny_guest.Base(str(self._folder / 'base'), str(tree))
        wanted = ('overlay', 'ext4', 'erofs', *kernel.NEEDED,
                  *kernel.WELCOME, *kernel.DEVICES['nvdimm'],
                  *kernel.DEVICES['virtio-pmem'])
        handover.write(str(self._folder), self._kernel.path.read_bytes(),
                       initramfs.pack(self._kernel.modules(wanted)))
        self._number = 0

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

    def run(self, combination):
        """Run a guest until it is off.

        :returns: (what is wrong with it, a list; seconds)
        :raises: DomainRefused
        """
        self._number += 1
        name = f'flexmem-flavor-{os.getpid()}-{self._number}'
        folder = self._folder / name
        folder.mkdir()
        folder.chmod(0o711)
        stock = domains.stock_xml(combination, name,
                                  hypervisor.domain_type(), folder)
        xml = domain.transform(stock, self._boot(),
                               device=combination['device'])
        drive = os.urandom(_DRIVE_BYTES)
        (folder / 'disk.config').write_bytes(drive)
        delta.create(str(folder / 'disk'), delta.MIN_SIZE_BYTES)
        began = time.monotonic()
        console = self._console_of(xml, folder)
        seconds = time.monotonic() - began
        subprocess.run(['rm', '-r', folder], check=True)
        return _faults(combination, console,
                       hashlib.sha256(drive).hexdigest()), seconds

    def _boot(self):
        base = self._base
        return domain.Boot(
            root_pmem=base.path, size_bytes=base.size_bytes,
            kernel=str(self._folder / 'kernel'),
            initramfs=str(self._folder / 'initramfs'),
            kernel_args='console=ttyS0 quiet panic=-1 no_timer_check',
            base_uuid=base.uuid, layout=base.layout, rootfs=base.rootfs)

    def _console_of(self, xml, folder):
        """Run a domain until it is off; return what was on its console."""
        running = self._connection.createXML(
            xml, libvirt.VIR_DOMAIN_START_AUTODESTROY)
        deadline = time.monotonic() + _BOOT_S
        try:
            while running.isActive() and time.monotonic() < deadline:
                time.sleep(0.5)
            running.destroy()
        except libvirt.libvirtError as e:
            if e.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
        return (folder / 'console.log').read_text(errors='replace')


def _faults(combination, console, digest):
    """Return what a guest saw that is not as its flavor has it."""
    lines = console.replace('\r', '').splitlines()
    if 'end' not in lines:
        return [f'it did not come up; its console ends: {lines[-8:]}']
    seen = dict(line.split(' ', 1) for line in
                lines[lines.index('begin') + 1:lines.index('end')]
                if ' ' in line)
    wanted = {'drive': digest, 'network': '10.0.2.15',
              'tablet': str(int(combination['tablet'])),
              'processors': str(combination['vcpus']),
              'cells': str(combination['cells']), 'root': 'written'}
    faults = [f'{key} {seen.get(key)}, not {value}'
              for key, value in wanted.items() if seen.get(key) != value]
    # the kernel keeps a part for itself, more of a small guest, and buffers
    # for DMA (swiotlb) if there may be memory above 4 GiB
    ram_kib = combination['ram_mib'] << 10
    buffers_kib = (64 << 10) if combination['room'] else 0
    if not 0.7 * (ram_kib - buffers_kib) < int(seen.get('ram', 0)) < ram_kib:
        faults.append(f'ram {seen.get("ram")} KiB')
    return faults + [line for line in lines if 'I/O error' in line]
